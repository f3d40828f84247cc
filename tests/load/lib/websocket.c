#include "websocket.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define FINAL 0x80
#define RESERVED 0x70
#define OPCODE 0x0f
#define MASKED 0x80
#define LENGTH_7 0x7f
#define LENGTH_16 126 // the length follows in 2 bytes
#define LENGTH_64 127 // in 8 bytes
#define MASK_BYTES 4

static uint64_t big_endian(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

size_t websocket_parse(const uint8_t *data, size_t available, struct websocket_frame *frame) {
    if (available < 2)
        return 0;
    uint64_t length = data[1] & LENGTH_7;
    size_t extended = length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
    size_t header = 2 + extended;
    if (available < header)
        return 0;
    if (extended)
        length = big_endian(data + 2, extended);
    if (available - header < length)
        return 0;
    *frame = (struct websocket_frame){
        .opcode = data[0] & OPCODE,
        .payload = data + header,
        .length = length,
        .supported = (data[0] & FINAL) && !(data[0] & RESERVED) && !(data[1] & MASKED),
    };
    return header + length;
}

bool websocket_send(int fd, enum websocket_opcode opcode, const void *payload, size_t length) {
    uint8_t frame[2 + 2 + MASK_BYTES + WEBSOCKET_SEND_MAX];
    size_t size = 0;
    if (length > WEBSOCKET_SEND_MAX)
        return false;
    frame[size++] = (uint8_t)(FINAL | opcode);
    if (length < LENGTH_16) {
        frame[size++] = (uint8_t)(MASKED | length);
    } else {
        frame[size++] = MASKED | LENGTH_16;
        frame[size++] = (uint8_t)(length >> 8);
        frame[size++] = (uint8_t)length;
    }
    // A mask of zeros is a valid mask, and spares the generator the masking.
    memset(frame + size, 0, MASK_BYTES);
    size += MASK_BYTES;
    memcpy(frame + size, payload, length);
    size += length;
    return send(fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}
