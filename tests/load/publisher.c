// publisher: publishes to the HTTP API at a pace, from a process of its own, so that neither the
// server nor the clients pay for the publisher.
//
// Three paces: R requests per second on a fixed schedule (--rate), as fast as the server answers
// with C connections (the default), and as fast as publications are delivered (--credits W: W
// requests ahead, and one more for each byte on standard input, which wsload writes). A request is
// one publish, or a batch of K (--batch). The data is a JSON object of an exact size that holds the
// Unix time in ns when its request was sent. Prints one JSON object.

#define _GNU_SOURCE
#include "lib/http_connection.h"
#include "lib/publish_request.h"
#include "lib/publisher_options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MAX_CHANNEL_NAME 512
#define ANSWERS_TIMEOUT_S 10 // after the last request
#define HTTP_OK 200
#define LATE_NS (5 * 1000 * NS_PER_US)
#define IDLE_WAIT_MS 10
#define EVENTS_PER_WAIT 256
#define CREDIT_READ_BYTES 4096
#define INPUT_INDEX UINT32_MAX
#define TIMER_INDEX (UINT32_MAX - 1)

static struct publisher_options options;
static struct http_connection connections[PUBLISHER_CONNECTIONS_MAX];
static struct publish_request requests[PUBLISHER_CHANNELS_MAX];
static int epoll_set;
static int timer;
static uint64_t begun_ns;

static uint64_t sent;     // requests
static uint64_t answered; // requests
static uint64_t accepted; // publications that were answered without an error
static uint64_t rejected; // publications that were answered by one, or never
static uint64_t late;     // requests sent more than LATE_NS after their time
static uint64_t credits;
static bool input_ended;
static struct histogram latency;

static struct publish_request make_request(const char *channel) {
    return publish_request_make(channel, options.api_key, options.batch, options.data_bytes);
}

static void make_requests(void) {
    if (!options.channels)
        requests[0] = make_request(options.channel);
    for (int i = 0; i < options.channels; i++) {
        char name[MAX_CHANNEL_NAME];
        snprintf(name, sizeof name, "%s%d", options.channel, i);
        requests[i] = make_request(name);
    }
}

static uint64_t publications_per_request(void) {
    return options.batch ? (uint64_t)options.batch : 1;
}

static double elapsed_s(void) {
    return (double)(monotonic_ns() - begun_ns) / (double)NS_PER_SECOND;
}

static bool is_sending_over(void) {
    bool no_more_credits = options.credits && !credits && input_ended;
    return no_more_credits || (double)sent >= options.requests || elapsed_s() >= options.seconds;
}

static void watch(struct http_connection *connection) {
    struct epoll_event event = {
        .events = EPOLLIN | (http_has_unsent(connection) ? (uint32_t)EPOLLOUT : 0),
        .data.u32 = (uint32_t)(connection - connections),
    };
    epoll_ctl(epoll_set, EPOLL_CTL_MOD, connection->fd, &event);
}

static void give_up(struct http_connection *connection) {
    rejected += connection->in_flight * publications_per_request();
    answered += connection->in_flight;
    http_close(connection);
}

// The next connection, in turn, that has room for a request; NULL when there is none.
static struct http_connection *free_connection(void) {
    static int turn;
    for (int i = 0; i < options.connections; i++) {
        struct http_connection *connection = &connections[turn];
        turn = (turn + 1) % options.connections;
        if (connection->fd >= 0 && connection->in_flight < (unsigned)options.pipeline)
            return connection;
    }
    return NULL;
}

static uint64_t due_ns(uint64_t request) {
    return begun_ns + (uint64_t)((double)request / options.rate * (double)NS_PER_SECOND);
}

// Whether the pace lets a request go now; arms the timer when it is a question of time.
static bool may_send(void) {
    if (is_sending_over() || (options.credits && !credits))
        return false;
    if (options.rate <= 0)
        return true;
    uint64_t due = due_ns(sent);
    if (monotonic_ns() >= due)
        return true;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due / NS_PER_SECOND),
                                         .tv_nsec = (long)(due % NS_PER_SECOND)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    return false;
}

static void send_due(void) {
    while (may_send()) {
        struct http_connection *connection = free_connection();
        if (!connection)
            return;
        uint64_t channel = options.channels ? sent % (uint64_t)options.channels : 0;
        struct publish_request *request = &requests[channel];
        publish_request_stamp(request, realtime_ns());
        if (options.rate > 0 && monotonic_ns() > due_ns(sent) + LATE_NS)
            late++;
        sent++;
        if (options.credits)
            credits--;
        bool ok = http_send(connection, request->bytes, request->length);
        if (!ok)
            give_up(connection);
        else if (http_has_unsent(connection))
            watch(connection);
    }
}

// How many publications of the request were not accepted.
static uint64_t count_rejected(const struct http_response *response) {
    static const char replies[] = "\"replies\":";
    static const char error[] = "\"error\":";
    const uint64_t publications = publications_per_request();
    const char *from = response->body;
    const char *end = from + response->body_length;
    bool answered_each =
        !options.batch || memmem(from, response->body_length, replies, strlen(replies));
    if (response->status != HTTP_OK || !answered_each)
        return publications;
    uint64_t errors = 0;
    while (errors < publications &&
           (from = memmem(from, (size_t)(end - from), error, strlen(error)))) {
        errors++;
        from += strlen(error);
    }
    return errors;
}

static void take_response(const struct http_response *response) {
    uint64_t errors = count_rejected(response);
    if (errors && !rejected) // one is enough to see what is wrong
        fprintf(stderr, "the server answered %d: %.*s\n", response->status,
                (int)response->body_length, response->body);
    answered++;
    rejected += errors;
    accepted += publications_per_request() - errors;
    histogram_add(&latency, (monotonic_ns() - response->sent_ns) / NS_PER_US);
}

static void connection_event(struct http_connection *connection, uint32_t events) {
    if (connection->fd < 0)
        return;
    if ((events & EPOLLOUT) && !http_flush(connection)) {
        give_up(connection);
        return;
    }
    if (events & ~(uint32_t)EPOLLOUT) {
        bool open = http_receive(connection);
        struct http_response response;
        size_t offset = 0;
        while (http_next(connection, &offset, &response))
            take_response(&response);
        http_forget(connection, offset);
        if (!open) {
            give_up(connection);
            return;
        }
    }
    if (events & EPOLLOUT)
        watch(connection);
}

static void read_credits(void) {
    char bytes[CREDIT_READ_BYTES];
    ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count > 0) {
        credits += (uint64_t)count;
    } else if (count == 0) {
        input_ended = true;
        epoll_ctl(epoll_set, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    }
}

static bool all_broken(void) {
    for (int i = 0; i < options.connections; i++)
        if (connections[i].fd >= 0)
            return false;
    return true;
}

static void loop(void) {
    struct epoll_event events[EVENTS_PER_WAIT];
    double stop_s = 0; // when no more is sent
    for (;;) {
        send_due();
        if (is_sending_over() && !stop_s)
            stop_s = elapsed_s();
        bool answers_over = answered == sent || elapsed_s() > stop_s + ANSWERS_TIMEOUT_S;
        if (all_broken() || (stop_s && answers_over))
            return;
        int count = epoll_wait(epoll_set, events, EVENTS_PER_WAIT, IDLE_WAIT_MS);
        for (int i = 0; i < count; i++) {
            uint32_t index = events[i].data.u32;
            uint64_t expirations;
            if (index == INPUT_INDEX)
                read_credits();
            else if (index != TIMER_INDEX)
                connection_event(&connections[index], events[i].events);
            else if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
                die("timer: %m");
        }
    }
}

static void add_event(int fd, uint32_t index) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    if (epoll_ctl(epoll_set, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl: %m");
}

static void open_all(void) {
    size_t request_max = 0;
    for (int i = 0; i < (options.channels ? options.channels : 1); i++)
        if (requests[i].length > request_max)
            request_max = requests[i].length;
    epoll_set = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    add_event(timer, TIMER_INDEX);
    if (options.credits) {
        credits = (uint64_t)options.credits;
        add_event(STDIN_FILENO, INPUT_INDEX);
    }
    for (int i = 0; i < options.connections; i++) {
        http_open(&connections[i], options.ports[i % options.port_count], request_max);
        add_event(connections[i].fd, (uint32_t)i);
    }
}

int main(int argc, char **argv) {
    options = publisher_options_parse(argc, argv);
    make_requests();
    open_all();
    double cpu_s = -cpu_seconds();
    begun_ns = monotonic_ns();
    loop();
    double seconds = elapsed_s();
    cpu_s += cpu_seconds();
    rejected += (sent - answered) * publications_per_request();
    printf("{\"event\":\"summary\",\"requests\":%lu,\"answered\":%lu,\"accepted\":%lu,"
           "\"rejected\":%lu,\"late\":%lu,\"seconds\":%.3f,\"requests_per_s\":%.1f,"
           "\"publications_per_s\":%.1f,",
           sent, answered, accepted, rejected, late, seconds, (double)answered / seconds,
           (double)accepted / seconds);
    histogram_print(&latency);
    printf(",\"cpu_s\":%.3f}\n", cpu_s);
    return 0;
}
