#define _GNU_SOURCE
#include "http_connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_END "\r\n\r\n"
#define HEAD_END_LENGTH 4
#define LINE_END_LENGTH 2

void http_open(struct http_connection *connection, uint16_t port, size_t request_max) {
    memset(connection, 0, sizeof *connection);
    connection->fd = tcp_socket(0);
    connection->unsent_capacity = request_max * PIPELINE_MAX;
    connection->unsent = malloc(connection->unsent_capacity);
    if (!connection->unsent)
        die("no memory for %d requests", PIPELINE_MAX);
    struct sockaddr_in server = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(port),
    };
    if (connect(connection->fd, (struct sockaddr *)&server, sizeof server) < 0)
        die("connect to port %u: %m", port);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
}

void http_close(struct http_connection *connection) {
    close(connection->fd);
    free(connection->unsent);
    connection->fd = -1;
    connection->unsent = NULL;
    connection->unsent_from = connection->unsent_to = 0;
    connection->in_flight = 0;
}

bool http_has_unsent(const struct http_connection *connection) {
    return connection->unsent_from < connection->unsent_to;
}

bool http_flush(struct http_connection *connection) {
    while (http_has_unsent(connection)) {
        ssize_t count = send(connection->fd, connection->unsent + connection->unsent_from,
                             connection->unsent_to - connection->unsent_from, MSG_NOSIGNAL);
        if (count < 0)
            return errno == EAGAIN;
        connection->unsent_from += (size_t)count;
    }
    connection->unsent_from = connection->unsent_to = 0;
    return true;
}

bool http_send(struct http_connection *connection, const uint8_t *request, size_t length) {
    if (connection->unsent_to + length > connection->unsent_capacity) {
        // All in flight fit, so there is room once what has been sent makes way.
        connection->unsent_to -= connection->unsent_from;
        memmove(connection->unsent, connection->unsent + connection->unsent_from,
                connection->unsent_to);
        connection->unsent_from = 0;
    }
    memcpy(connection->unsent + connection->unsent_to, request, length);
    connection->unsent_to += length;
    unsigned slot = (connection->first_in_flight + connection->in_flight++) % PIPELINE_MAX;
    connection->sent_ns[slot] = monotonic_ns();
    return http_flush(connection);
}

bool http_receive(struct http_connection *connection) {
    size_t room = RESPONSE_MAX - connection->response_length;
    if (!room)
        die("a response is larger than %d bytes", RESPONSE_MAX);
    ssize_t count =
        recv(connection->fd, connection->response + connection->response_length, room, 0);
    if (count < 0 && errno == EAGAIN)
        return true;
    if (count <= 0)
        return false;
    connection->response_length += (size_t)count;
    connection->response[connection->response_length] = '\0';
    return true;
}

// The value of a header between `head` and `end`, or NULL.
static const char *header_value(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = head; line && line < end;) {
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " ");
        line = strstr(line, "\r\n");
        line = line ? line + LINE_END_LENGTH : NULL;
    }
    return NULL;
}

// Moves the chunks that start at `body` together. Returns the end of the last one, or NULL while
// some are missing.
static char *join_chunks(char *body, const char *end, size_t *joined) {
    // Nothing is moved before the last chunk is there: the next try begins anew.
    for (int move = 0; move < 2; move++) {
        char *chunk = body;
        *joined = 0;
        for (;;) {
            char *line_end = strstr(chunk, "\r\n");
            if (!line_end)
                return NULL;
            size_t size = strtoul(chunk, NULL, 16);
            char *data = line_end + LINE_END_LENGTH;
            if ((size_t)(end - data) < size + LINE_END_LENGTH)
                return NULL;
            if (!size && move)
                return data + LINE_END_LENGTH;
            if (!size)
                break;
            chunk = data + size + LINE_END_LENGTH;
            if (move)
                memmove(body + *joined, data, size);
            *joined += size;
        }
    }
    return NULL;
}

bool http_next(struct http_connection *connection, size_t *offset, struct http_response *response) {
    char *head = connection->response + *offset;
    char *end = connection->response + connection->response_length;
    char *head_end = memmem(head, (size_t)(end - head), HEAD_END, HEAD_END_LENGTH);
    if (!head_end || !connection->in_flight)
        return false;
    *response = (struct http_response){.body = head_end + HEAD_END_LENGTH};
    char *next;
    const char *length = header_value(head, head_end, "Content-Length");
    if (length) {
        response->body_length = strtoul(length, NULL, 10);
        if ((size_t)(end - response->body) < response->body_length)
            return false;
        next = response->body + response->body_length;
    } else {
        next = join_chunks(response->body, end, &response->body_length);
        if (!next)
            return false;
    }
    if (sscanf(head, "HTTP/1.1 %3d", &response->status) != 1)
        die("the reply is not HTTP: %.40s", head);
    response->sent_ns = connection->sent_ns[connection->first_in_flight];
    connection->first_in_flight = (connection->first_in_flight + 1) % PIPELINE_MAX;
    connection->in_flight--;
    *offset = (size_t)(next - connection->response);
    return true;
}

void http_forget(struct http_connection *connection, size_t offset) {
    connection->response_length -= offset;
    memmove(connection->response, connection->response + offset, connection->response_length + 1);
}
