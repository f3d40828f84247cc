#include "protocol.h"

#include <string.h>

static const struct protocol *const protocols[] = {&centrifuge_protocol, &socketio_protocol};

const struct protocol *protocol_named(const char *name) {
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i]->name, name) == 0)
            return protocols[i];
    return NULL;
}
