// Keep-alive HTTP/1.1 connections that may hold several requests in flight each.

#ifndef HTTP_CONNECTION_H
#define HTTP_CONNECTION_H

#include "measure.h"

#define PIPELINE_MAX 64
#define RESPONSE_MAX (64 * 1024) // head and body

struct http_connection {
    int fd;             // -1: closed
    uint8_t *unsent;    // what the socket has not taken yet
    size_t unsent_from; // sent up to here
    size_t unsent_to;
    size_t unsent_capacity;
    uint64_t sent_ns[PIPELINE_MAX]; // monotonic, a ring: of the requests in flight
    unsigned first_in_flight;
    unsigned in_flight;
    char response[RESPONSE_MAX + 1];
    size_t response_length;
};

struct http_response {
    int status;
    char *body; // not terminated; chunks are already joined
    size_t body_length;
    uint64_t sent_ns; // of its request
};

void http_open(struct http_connection *connection, uint16_t port, size_t request_max);
void http_close(struct http_connection *connection);

// Sends or queues the request, at most PIPELINE_MAX in flight. Returns false when the connection is
// broken.
bool http_send(struct http_connection *connection, const uint8_t *request, size_t length);

// Sends more of what is queued; call when the socket is writable. False: broken.
bool http_flush(struct http_connection *connection);
bool http_has_unsent(const struct http_connection *connection);

// Receives what has come; call when the socket is readable. False: broken.
bool http_receive(struct http_connection *connection);

// Takes the next whole response, if there is one. Its body is valid until http_receive.
bool http_next(struct http_connection *connection, size_t *offset, struct http_response *response);
// Forgets the responses taken so far: call after the last http_next of a turn.
void http_forget(struct http_connection *connection, size_t offset);

#endif
