// A ready HTTP request that publishes, whose payloads tell when it was sent.

#ifndef PUBLISH_REQUEST_H
#define PUBLISH_REQUEST_H

#include <stddef.h>
#include <stdint.h>

struct publish_request {
    uint8_t *bytes; // head and body
    size_t length;
    size_t first_time;  // offset of the time in the first payload
    size_t time_stride; // from one time to the next
    int times;
};

// POST /api/publish, or with `batch` > 0 a POST /api/batch of so many publications. The data of
// each is {"t":<Unix ns>,"pad":"xx…"} of exactly `data_bytes`, at least PUBLISH_DATA_MIN.
#define PUBLISH_DATA_MIN 40
struct publish_request publish_request_make(const char *channel, const char *api_key, int batch,
                                            int data_bytes);

// Writes the time into every payload.
void publish_request_stamp(struct publish_request *request, uint64_t unix_ns);

#endif
