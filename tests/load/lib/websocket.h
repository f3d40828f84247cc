// The client's half of RFC 6455, as much as a load generator needs: no fragments, no extensions.

#ifndef WEBSOCKET_H
#define WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum websocket_opcode {
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

// Close codes that never travel: what the generator counts when there was no close frame.
enum websocket_close {
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_NO_STATUS = 1005,
    WEBSOCKET_ABNORMAL = 1006,
    WEBSOCKET_TOO_BIG = 1009,
};

struct websocket_frame {
    enum websocket_opcode opcode;
    const uint8_t *payload; // points into the parsed bytes
    size_t length;
    bool supported; // false: a fragment, or reserved bits that nobody negotiated
};

// Reads the frame at the start of `data`. Returns how many bytes it takes, 0 while it is
// incomplete.
size_t websocket_parse(const uint8_t *data, size_t available, struct websocket_frame *frame);

// Sends one masked frame of at most WEBSOCKET_SEND_MAX bytes; false when the socket did not take it
// whole, which for frames this small means that the peer has stopped reading.
#define WEBSOCKET_SEND_MAX 4096
bool websocket_send(int fd, enum websocket_opcode opcode, const void *payload, size_t length);

#endif
