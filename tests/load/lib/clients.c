#define _GNU_SOURCE
#include "clients.h"

#include "websocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 2048
#define CHANNEL_MAX 512
#define NOTHING_EXPECTED UINT64_MAX

static const struct plan *plan;
static int epoll_set;
static struct client *clients;
static struct tally tally;
static bool measuring;
static uint64_t expected = NOTHING_EXPECTED;
static int waiting; // open, reading clients that still miss some of what is expected

// One buffer for all: a client keeps bytes of its own only while a frame is incomplete, so that
// thousands of them stay in the cache. One byte more than is filled ends the numbers in it.
static uint8_t received[RECEIVE_BYTES + 1];

static char upgrade_request[REQUEST_MAX];
static int upgrade_request_length;

void clients_make(const struct plan *the_plan, int epoll) {
    plan = the_plan;
    epoll_set = epoll;
    clients = calloc((size_t)plan->clients, sizeof *clients);
    if (!clients)
        die("no memory for %d clients", plan->clients);
    upgrade_request_length =
        snprintf(upgrade_request, sizeof upgrade_request,
                 "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                 plan->path, plan->host);
    if (upgrade_request_length >= REQUEST_MAX)
        die("--path or --host is too long");
}

static void watch(int index, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)index};
    if (epoll_ctl(epoll_set, operation, clients[index].fd, &event) < 0)
        die("epoll_ctl: %m");
}

static bool is_missing_some(const struct client *client) {
    return client->state == SUBSCRIBED && !client->stalled && client->publications < expected;
}

static void close_client(int index) {
    struct client *client = &clients[index];
    if (is_missing_some(client))
        waiting--;
    if (client->state == SUBSCRIBED)
        tally.subscribed--;
    tally.closed++;
    tally.closed_stalled += client->stalled;
    client->state = CLOSED;
    close(client->fd); // which takes it out of the epoll set too
    free(client->partial);
    client->partial = NULL;
}

static void close_with(int index, int code) {
    tally.close_codes[code >= 0 && code < CLOSE_CODES ? code : 0]++;
    close_client(index);
}

static void bind_source(int fd, int index) {
    // Each source address has its own 28,000 ephemeral ports; choosing the port only when
    // connecting lets them be shared by destinations.
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(index % plan->source_ips)),
    };
    if (bind(fd, (struct sockaddr *)&source, sizeof source) < 0)
        die("bind to a source address: %m");
}

void client_start(int index) {
    struct client *client = &clients[index];
    client->fd = tcp_socket(SOCK_NONBLOCK);
    client->state = CONNECTING;
    tally.started++;
    if (plan->source_ips > 1)
        bind_source(client->fd, index);
    struct sockaddr_in server = {
        .sin_family = AF_INET,
        .sin_port = htons(plan->ports[index % plan->port_count]),
    };
    if (inet_pton(AF_INET, plan->host, &server.sin_addr) != 1)
        die("--host is \"%s\": give an IPv4 address", plan->host);
    // A refusal on loopback may come at once; epoll then reports it like a later one.
    connect(client->fd, (struct sockaddr *)&server, sizeof server);
    watch(index, EPOLL_CTL_ADD, EPOLLOUT);
}

static void ask_for_upgrade(int index) {
    struct client *client = &clients[index];
    int error = 0;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error ||
        send(client->fd, upgrade_request, (size_t)upgrade_request_length, MSG_NOSIGNAL) < 0) {
        tally.unreachable++;
        close_client(index);
        return;
    }
    client->state = UPGRADING;
    watch(index, EPOLL_CTL_MOD, EPOLLIN);
}

static void name_channel(int index, char name[CHANNEL_MAX]) {
    int length = plan->channels ? snprintf(name, CHANNEL_MAX, "%s%d", plan->channel,
                                           index % plan->channels)
                                : snprintf(name, CHANNEL_MAX, "%s", plan->channel);
    if (length >= CHANNEL_MAX)
        die("--channel is too long");
}

// Says what the protocol says to this, if anything. When it does not fit, the server has stopped
// reading: a client that is subscribed leaves it to the server to notice, and counts its close.
static void answer(int index, enum meaning meaning) {
    struct client *client = &clients[index];
    char channel[CHANNEL_MAX];
    char text[REQUEST_MAX];
    name_channel(index, channel);
    const struct credentials who = {.token = plan->token, .channel = channel};
    int length = plan->protocol->answer(meaning, &who, text, sizeof text);
    if (length >= REQUEST_MAX)
        die("--token is too long");
    if (!length || websocket_send(client->fd, WEBSOCKET_TEXT, text, (size_t)length))
        return;
    if (client->state != SUBSCRIBED)
        close_with(index, WEBSOCKET_ABNORMAL);
}

// Returns how many bytes the HTTP reply takes, 0 while it is incomplete or when it was a refusal.
static size_t read_upgrade(int index, const uint8_t *data, size_t length) {
    static const char end_of_head[] = "\r\n\r\n";
    const uint8_t *end = memmem(data, length, end_of_head, 4);
    if (!end)
        return 0;
    int status = 0;
    if (sscanf((const char *)data, "HTTP/1.1 %3d", &status) != 1)
        status = 0;
    if (status == 101) {
        clients[index].state = SUBSCRIBING;
        answer(index, UPGRADED);
    } else {
        tally.refused[status < HTTP_STATUSES ? status : 0]++;
        close_client(index);
    }
    return (size_t)(end + 4 - data);
}

static void become_subscribed(struct client *client) {
    if (client->state != SUBSCRIBING)
        return;
    client->state = SUBSCRIBED;
    tally.subscribed++;
    waiting++;
}

static void be_refused(int index, const uint8_t *message, size_t length) {
    if (tally.errors++ == 0) // one is enough to see what is wrong
        fprintf(stderr, "the server answered: %.*s\n", (int)length, message);
    close_client(index);
}

static void count_publication(struct client *client, const uint8_t *message, size_t length,
                              uint64_t now_ns) {
    tally.publications++;
    if (++client->publications == expected)
        waiting--;
    const uint8_t *sent = memmem(message, length, "\"t\":", 4);
    if (!sent)
        return;
    uint64_t sent_ns = strtoull((const char *)sent + 4, NULL, 10);
    if (sent_ns < client->newest_ns)
        tally.disordered++;
    else
        client->newest_ns = sent_ns;
    uint64_t latency_us = now_ns > sent_ns ? (now_ns - sent_ns) / NS_PER_US : 0;
    histogram_add(&tally.latency, latency_us);
    histogram_add(&tally.second_latency, latency_us);
}

static void count_frame(uint64_t publications, size_t length) {
    if (!publications)
        return;
    tally.last_ns = monotonic_ns();
    if (!tally.first_ns)
        tally.first_ns = tally.last_ns;
    tally.frames++;
    tally.bytes += length;
    tally.frames_of[publications < FRAME_SIZES ? publications : FRAME_SIZES - 1]++;
    if (publications > tally.most_per_frame)
        tally.most_per_frame = publications;
}

// Returns whether it was a publication that counts.
static bool read_message(int index, const uint8_t *message, size_t length, uint64_t now_ns) {
    struct client *client = &clients[index];
    enum meaning meaning = plan->protocol->read(message, length);
    switch (meaning) {
    case PUBLICATION:
        if (!measuring || client->stalled)
            return false;
        count_publication(client, message, length, now_ns);
        return true;
    case JOINED:
        become_subscribed(client);
        return false;
    case REFUSAL:
        be_refused(index, message, length);
        return false;
    default:
        answer(index, meaning);
        return false;
    }
}

// A text frame holds messages joined by line feeds; JSON holds none within.
static void read_text(int index, const uint8_t *text, size_t length) {
    const uint8_t *end = text + length;
    uint64_t publications = 0;
    uint64_t now_ns = measuring ? realtime_ns() : 0;
    for (const uint8_t *message = text; message < end && clients[index].state != CLOSED;) {
        const uint8_t *line_feed = memchr(message, '\n', (size_t)(end - message));
        size_t size = (size_t)((line_feed ? line_feed : end) - message);
        if (size && read_message(index, message, size, now_ns))
            publications++;
        message += size + 1;
    }
    count_frame(publications, length);
}

static void read_frame(int index, const struct websocket_frame *frame) {
    if (!frame->supported) {
        close_with(index, WEBSOCKET_PROTOCOL_ERROR);
        return;
    }
    switch (frame->opcode) {
    case WEBSOCKET_TEXT:
        read_text(index, frame->payload, frame->length);
        break;
    case WEBSOCKET_PING:
        websocket_send(clients[index].fd, WEBSOCKET_PONG, frame->payload, frame->length);
        break;
    case WEBSOCKET_CLOSE:
        close_with(index, frame->length >= 2 ? frame->payload[0] << 8 | frame->payload[1]
                                             : WEBSOCKET_NO_STATUS);
        break;
    case WEBSOCKET_PONG:
        break;
    default:
        close_with(index, WEBSOCKET_PROTOCOL_ERROR);
    }
}

static size_t read_frames(int index, const uint8_t *data, size_t length) {
    size_t used = 0;
    if (clients[index].state == UPGRADING && !(used = read_upgrade(index, data, length)))
        return 0;
    while (clients[index].state != CLOSED) {
        struct websocket_frame frame;
        size_t size = websocket_parse(data + used, length - used, &frame);
        if (!size)
            break;
        read_frame(index, &frame);
        used += size;
    }
    return used;
}

static void keep_rest(struct client *client, const uint8_t *rest, size_t length) {
    client->partial_length = length;
    if (!length) {
        free(client->partial);
        client->partial = NULL;
        return;
    }
    client->partial = realloc(client->partial, length);
    if (!client->partial)
        die("no memory for %zu bytes of a frame", length);
    memcpy(client->partial, rest, length);
}

static void receive(int index) {
    struct client *client = &clients[index];
    size_t length = client->partial_length;
    if (length == RECEIVE_BYTES) {
        close_with(index, WEBSOCKET_TOO_BIG);
        return;
    }
    if (length)
        memcpy(received, client->partial, length);
    ssize_t got = recv(client->fd, received + length, RECEIVE_BYTES - length, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { // the end, or a reset, without a close frame
        close_with(index, WEBSOCKET_ABNORMAL);
        return;
    }
    length += (size_t)got;
    received[length] = '\0';
    size_t used = read_frames(index, received, length);
    if (client->state != CLOSED)
        keep_rest(client, received + used, length - used);
}

void client_event(int index) {
    struct client *client = &clients[index];
    if (client->state == CONNECTING) {
        ask_for_upgrade(index);
    } else if (client->stalled) {
        // Its connection is over: what still lies in the receive buffer tells the close code.
        watch(index, EPOLL_CTL_MOD, EPOLLIN);
        receive(index);
    } else if (client->state != CLOSED) {
        receive(index);
    }
}

void clients_measure(void) {
    measuring = true;
    for (int i = 0, left = plan->stalled; i < plan->clients && left; i++) {
        if (clients[i].state != SUBSCRIBED)
            continue;
        clients[i].stalled = true;
        left--;
        waiting--;
        watch(i, EPOLL_CTL_MOD, EPOLLRDHUP); // tells of the end without reading
    }
}

void clients_expect(uint64_t publications) {
    expected = publications;
    waiting = 0;
    for (int i = 0; i < plan->clients; i++)
        waiting += is_missing_some(&clients[i]);
}

int clients_waiting(void) { return waiting; }

const struct tally *clients_tally(void) { return &tally; }

void clients_next_second(void) { memset(&tally.second_latency, 0, sizeof tally.second_latency); }

struct completeness clients_completeness(void) {
    struct completeness result = {.fewest = UINT64_MAX};
    for (int i = 0; i < plan->clients; i++) {
        const struct client *client = &clients[i];
        if (client->stalled)
            continue;
        result.complete += client->publications == expected;
        if (client->publications < result.fewest)
            result.fewest = client->publications;
        if (client->publications > result.most)
            result.most = client->publications;
    }
    if (result.fewest == UINT64_MAX)
        result.fewest = 0;
    return result;
}
