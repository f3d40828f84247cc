// What wsload's clients say to a server and understand of it: one table of functions per protocol.
//
// A protocol does no I/O and keeps no state. It tells what a message means, and what a client
// answers to it; clients.c does the rest, alike for all.

#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

// In the order in which a client meets them.
enum meaning {
    UPGRADED,    // no message: the connection has become a WebSocket
    OPENED,      // the server is there
    ACCEPTED,    // the server has taken the client
    JOINED,      // the channel is subscribed to
    PUBLICATION, // holds "t":, the Unix time in ns when it was sent
    PING,
    REFUSAL, // of anything that the client asked for
    NO_MATTER,
};

struct credentials {
    const char *token;
    const char *channel;
};

struct protocol {
    const char *name;
    const char *path; // where its servers upgrade

    // What one message means. Messages are the lines of a text frame.
    enum meaning (*read)(const uint8_t *message, size_t length);

    // Writes what a client says to this, a string of at most `room` bytes with its end, and returns
    // its length as snprintf does; 0: nothing.
    int (*answer)(enum meaning meaning, const struct credentials *who, char *text, size_t room);
};

// The JSON protocol of Centrifuge: commands and replies, joined by line feeds.
extern const struct protocol centrifuge_protocol;

// Socket.IO 5 over Engine.IO 4: a frame is one packet, and events come as "pub".
extern const struct protocol socketio_protocol;

// The protocol of this name, or NULL.
const struct protocol *protocol_named(const char *name);

#endif
