#define _GNU_SOURCE
#include "publish_request.h"

#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_DIGITS 19 // of the Unix time in ns, until the year 2286
#define DATA_HEAD "{\"t\":"
#define DATA_MIDDLE ",\"pad\":\""
#define DATA_END "\"}"
#define DATA_FRAME (sizeof DATA_HEAD DATA_MIDDLE DATA_END - 1 + TIME_DIGITS)
#define COMMAND_HEAD "{\"publish\":"
#define COMMAND_END "}"

static void check(int printed) {
    if (printed < 0)
        die("no memory for a request");
}

// {"channel":"…","data":{"t":000…,"pad":"xx…"}}
static char *publish_body(const char *channel, size_t data_bytes) {
    char pad[data_bytes - DATA_FRAME + 1];
    memset(pad, 'x', sizeof pad - 1);
    pad[sizeof pad - 1] = '\0';
    char *body;
    check(asprintf(&body,
                   "{\"channel\":\"%s\",\"data\":" DATA_HEAD "%0*d" DATA_MIDDLE "%s" DATA_END "}",
                   channel, TIME_DIGITS, 0, pad));
    return body;
}

// {"commands":[{"publish":…},{"publish":…}]}
static char *batch_body(const char *publish, int batch) {
    char *body = NULL;
    size_t size;
    FILE *out = open_memstream(&body, &size);
    fputs("{\"commands\":[", out);
    for (int i = 0; i < batch; i++)
        fprintf(out, "%s" COMMAND_HEAD "%s" COMMAND_END, i ? "," : "", publish);
    fputs("]}", out);
    check(fclose(out));
    return body;
}

struct publish_request publish_request_make(const char *channel, const char *api_key, int batch,
                                            int data_bytes) {
    char *publish = publish_body(channel, (size_t)data_bytes);
    char *body = batch ? batch_body(publish, batch) : strdup(publish);
    char *text;
    int length = asprintf(&text,
                          "POST /api/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: %s\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          batch ? "batch" : "publish", api_key, strlen(body), body);
    check(length);
    struct publish_request request = {
        .bytes = (uint8_t *)text,
        .length = (size_t)length,
        .first_time = (size_t)(strstr(text, DATA_HEAD) - text) + strlen(DATA_HEAD),
        .time_stride = strlen(publish) + strlen(COMMAND_HEAD COMMAND_END ","),
        .times = batch ? batch : 1,
    };
    free(body);
    free(publish);
    return request;
}

void publish_request_stamp(struct publish_request *request, uint64_t unix_ns) {
    char digits[TIME_DIGITS + 2];
    snprintf(digits, sizeof digits, "%0*lu", TIME_DIGITS, unix_ns);
    uint8_t *time = request->bytes + request->first_time;
    for (int i = 0; i < request->times; i++, time += request->time_stride)
        memcpy(time, digits, TIME_DIGITS);
}
