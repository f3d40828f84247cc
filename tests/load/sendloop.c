// sendloop: what delivering costs at the least. One process sends a ready frame to each of N
// connections, round after round, by plain send(); another drains them with epoll, as wsload does.
// The CPU time of the sender alone, divided by its sends, is the floor beneath any server.
//
// Rounds are paced like publications, because a kernel that wakes a sleeping reader does more work
// than one whose reader is awake. --drain-port makes it the draining half only, for other senders
// (uvloop_sendloop.py). Prints one JSON object.

#define _GNU_SOURCE
#include "lib/measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 100000
#define MAX_FRAME_BYTES 65535
#define MEDIUM_FRAME 126 // from this payload on, the header holds a two-byte length
#define DRAIN_BYTES (256 * 1024)
#define EVENTS_PER_WAIT 1024
#define ANY_CORE (-1)

struct options {
    int clients;
    int rounds;
    int bytes;   // of a frame with its header
    double rate; // rounds per second; 0: without pause
    int send_core;
    int drain_core;
    int drain_port; // 0: measure here
};

static const char usage[] =
    "sendloop [options]: the CPU time of sending a ready frame to N connections\n"
    "  --clients N     (1000)\n"
    "  --rounds N      (200)\n"
    "  --bytes N       of a frame with its header (256)\n"
    "  --rate R        rounds per second, 0: without pause (50)\n"
    "  --send-core C --drain-core C   pin the halves\n"
    "  --drain-port P  only connect to P and read, until the sender closes\n";

static void pin(int core) {
    if (core == ANY_CORE)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        die("core %d: %m", core);
}

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(port),
    };
}

// Connects, reads and throws away, until every connection has been closed.
static void drain(int clients, uint16_t port) {
    static uint8_t bytes[DRAIN_BYTES];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in server = loopback(port);
    for (int i = 0; i < clients; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = tcp_socket(0)};
        if (connect(event.data.fd, (struct sockaddr *)&server, sizeof server) < 0)
            die("connect to port %u: %m", port);
        epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
    }
    struct epoll_event events[EVENTS_PER_WAIT];
    for (int open = clients; open;) {
        int count = epoll_wait(epoll, events, EVENTS_PER_WAIT, -1);
        for (int i = 0; i < count; i++) {
            if (recv(events[i].data.fd, bytes, sizeof bytes, 0) > 0)
                continue;
            close(events[i].data.fd);
            open--;
        }
    }
}

static int listening_socket(uint16_t *port) {
    int fd = tcp_socket(0);
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen: %m");
    *port = ntohs(address.sin_port);
    return fd;
}

static int *accept_all(int listener, int clients) {
    int *sockets = calloc((size_t)clients, sizeof *sockets);
    if (!sockets)
        die("no memory for %d sockets", clients);
    for (int i = 0; i < clients; i++) {
        sockets[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (sockets[i] < 0)
            die("accept: %m");
    }
    return sockets;
}

// An unmasked text frame, as a server sends it, of `size` bytes in all.
static void make_frame(uint8_t *frame, int size) {
    int header = size - 2 < MEDIUM_FRAME ? 2 : 4;
    int payload = size - header;
    memset(frame, 'x', (size_t)size);
    frame[0] = 0x81;
    if (header == 2) {
        frame[1] = (uint8_t)payload;
    } else {
        frame[1] = MEDIUM_FRAME;
        frame[2] = (uint8_t)(payload >> 8);
        frame[3] = (uint8_t)payload;
    }
}

// Returns how often the socket was full.
static uint64_t send_whole(int fd, const uint8_t *frame, size_t size) {
    uint64_t full = 0;
    for (size_t sent = 0; sent < size;) {
        ssize_t count = send(fd, frame + sent, size - sent, MSG_NOSIGNAL);
        if (count >= 0) {
            sent += (size_t)count;
        } else if (errno == EAGAIN) {
            full++;
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else {
            die("send: %m");
        }
    }
    return full;
}

static void sleep_until(uint64_t monotonic) {
    struct timespec until = {.tv_sec = (time_t)(monotonic / NS_PER_SECOND),
                             .tv_nsec = (long)(monotonic % NS_PER_SECOND)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

static void measure(const struct options *options, const int *sockets) {
    uint8_t frame[MAX_FRAME_BYTES];
    make_frame(frame, options->bytes);
    uint64_t full = 0;
    uint64_t begun_ns = monotonic_ns();
    double cpu_s = -cpu_seconds();
    for (int round = 0; round < options->rounds; round++) {
        if (options->rate > 0)
            sleep_until(begun_ns + (uint64_t)(round / options->rate * (double)NS_PER_SECOND));
        for (int i = 0; i < options->clients; i++)
            full += send_whole(sockets[i], frame, (size_t)options->bytes);
    }
    cpu_s += cpu_seconds();
    double sends = (double)options->rounds * options->clients;
    printf("{\"event\":\"summary\",\"sends\":%.0f,\"bytes\":%d,\"full\":%lu,\"seconds\":%.3f,"
           "\"cpu_s\":%.4f,\"us_per_send\":%.4f}\n",
           sends, options->bytes, full, (double)(monotonic_ns() - begun_ns) / (double)NS_PER_SECOND,
           cpu_s, cpu_s / sends * 1e6);
}

static void send_to_own_drain(const struct options *options) {
    uint16_t port;
    int listener = listening_socket(&port);
    pid_t drainer = fork();
    if (drainer < 0)
        die("fork: %m");
    if (drainer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // a sender that dies leaves no orphan
        close(listener);
        pin(options->drain_core);
        drain(options->clients, port);
        _exit(0);
    }
    pin(options->send_core);
    int *sockets = accept_all(listener, options->clients);
    measure(options, sockets);
    for (int i = 0; i < options->clients; i++)
        close(sockets[i]);
    free(sockets);
    waitpid(drainer, NULL, 0);
}

static const struct option long_options[] = {
    {"clients", required_argument, NULL, 'n'},
    {"rounds", required_argument, NULL, 'r'},
    {"bytes", required_argument, NULL, 'b'},
    {"rate", required_argument, NULL, 'R'},
    {"send-core", required_argument, NULL, 's'},
    {"drain-core", required_argument, NULL, 'd'},
    {"drain-port", required_argument, NULL, 'p'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static struct options parse_options(int argc, char **argv) {
    struct options options = {.clients = 1000,
                              .rounds = 200,
                              .bytes = 256,
                              .rate = 50,
                              .send_core = ANY_CORE,
                              .drain_core = ANY_CORE};
    int position;
    for (int code; (code = getopt_long(argc, argv, "", long_options, &position)) != -1;) {
        switch (code) {
        case 'n':
            options.clients = (int)parse_number("clients", optarg, 1, MAX_CLIENTS);
            break;
        case 'r':
            options.rounds = (int)parse_number("rounds", optarg, 1, 1e6);
            break;
        case 'b':
            options.bytes = (int)parse_number("bytes", optarg, 8, MAX_FRAME_BYTES);
            break;
        case 'R':
            options.rate = parse_number("rate", optarg, 0, 1e6);
            break;
        case 's':
            options.send_core = (int)parse_number("send-core", optarg, 0, CPU_SETSIZE - 1);
            break;
        case 'd':
            options.drain_core = (int)parse_number("drain-core", optarg, 0, CPU_SETSIZE - 1);
            break;
        case 'p':
            options.drain_port = (int)parse_number("drain-port", optarg, 1, UINT16_MAX);
            break;
        default:
            fputs(usage, code == 'h' ? stdout : stderr);
            exit(code == 'h' ? 0 : 2);
        }
    }
    return options;
}

int main(int argc, char **argv) {
    struct options options = parse_options(argc, argv);
    raise_file_limit((size_t)options.clients);
    if (options.drain_port) {
        pin(options.drain_core);
        drain(options.clients, (uint16_t)options.drain_port);
    } else {
        send_to_own_drain(&options);
    }
    return 0;
}
