#define _GNU_SOURCE
#include "protocol.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool contains(const uint8_t *text, size_t length, const char *part) {
    return memmem(text, length, part, strlen(part)) != NULL;
}

static enum meaning read_message(const uint8_t *message, size_t length) {
    if (length == 2 && memcmp(message, "{}", 2) == 0)
        return PING;
    if (contains(message, length, "\"pub\":"))
        return PUBLICATION;
    if (contains(message, length, "\"error\":"))
        return REFUSAL;
    return contains(message, length, "\"id\":2") ? JOINED : NO_MATTER;
}

static int answer(enum meaning meaning, const struct credentials *who, char *text, size_t room) {
    switch (meaning) {
    case UPGRADED: // connect and subscribe travel in one frame, as the SDKs send them
        return snprintf(text, room,
                        "{\"id\":1,\"connect\":{\"token\":\"%s\"}}\n"
                        "{\"id\":2,\"subscribe\":{\"channel\":\"%s\"}}",
                        who->token, who->channel);
    case PING:
        return snprintf(text, room, "{}");
    default:
        return 0;
    }
}

const struct protocol centrifuge_protocol = {
    .name = "centrifuge",
    .path = "/connection/websocket",
    .read = read_message,
    .answer = answer,
};
