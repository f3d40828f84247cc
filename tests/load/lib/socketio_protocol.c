#include "protocol.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

// A packet starts with its type in Engine.IO, and for a message its type in Socket.IO.
#define OPEN "0"
#define PING_PACKET "2"
#define PONG_PACKET "3"
#define CONNECT "40"
#define DISCONNECT "41"
#define EVENT "42"
#define ACKNOWLEDGEMENT "43"
#define CONNECT_ERROR "44"
#define SUBSCRIBE_ID "0" // stands in the event, and in its acknowledgement

static bool starts_with(const uint8_t *message, size_t length, const char *start) {
    return length >= strlen(start) && memcmp(message, start, strlen(start)) == 0;
}

static enum meaning read_message(const uint8_t *message, size_t length) {
    static const struct {
        const char *start;
        enum meaning meaning;
    } packets[] = {
        {EVENT, PUBLICATION},
        {PING_PACKET, PING},
        {OPEN, OPENED},
        {CONNECT, ACCEPTED},
        {ACKNOWLEDGEMENT SUBSCRIBE_ID, JOINED},
        {CONNECT_ERROR, REFUSAL},
        {DISCONNECT, REFUSAL},
    };
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++)
        if (starts_with(message, length, packets[i].start))
            return packets[i].meaning;
    return NO_MATTER;
}

static int answer(enum meaning meaning, const struct credentials *who, char *text, size_t room) {
    switch (meaning) {
    case OPENED:
        if (*who->token)
            return snprintf(text, room, CONNECT "{\"token\":\"%s\"}", who->token);
        return snprintf(text, room, CONNECT);
    case ACCEPTED:
        return snprintf(text, room, EVENT SUBSCRIBE_ID "[\"subscribe\",\"%s\"]", who->channel);
    case PING:
        return snprintf(text, room, PONG_PACKET);
    default:
        return 0;
    }
}

const struct protocol socketio_protocol = {
    .name = "socket.io",
    .path = "/socket.io/?EIO=4&transport=websocket",
    .read = read_message,
    .answer = answer,
};
