// The connections of wsload: each upgrades, subscribes as its protocol says, and then counts what it
// is sent.
//
//     CONNECTING ──▶ UPGRADING ──▶ SUBSCRIBING ──▶ SUBSCRIBED
//          └──────────────┴──────────────┴──────────────┴────▶ CLOSED
//
// One epoll set holds them all. Nothing here decides when a run begins or ends: that is wsload.c.

#ifndef CLIENTS_H
#define CLIENTS_H

#include "measure.h"
#include "protocol.h"

#define CLOSE_CODES 5000                // codes from 0 to 4999
#define HTTP_STATUSES 600               // statuses from 0 to 599; 0: the reply was not HTTP
#define FRAME_SIZES 65                  // frames of 1 to 63 publications, and of 64 or more
#define RECEIVE_BYTES (2 * 1024 * 1024) // a frame must fit in here

struct plan {
    const struct protocol *protocol;
    const char *host;
    const char *path;
    const char *channel;
    const char *token;
    uint16_t ports[MAX_PORTS]; // client i uses port i modulo their count
    int port_count;
    int clients;
    int stalled;       // the first so many stop reading once all are subscribed
    int channels;      // 0: all on `channel`; M: client i is on `channel` + (i modulo M)
    int source_ips;    // client i connects from 127.0.0.1 + (i modulo source_ips)
    double per_second; // connections begun per second
};

enum client_state { UNBORN, CONNECTING, UPGRADING, SUBSCRIBING, SUBSCRIBED, CLOSED };

struct client {
    int fd;
    enum client_state state;
    bool stalled;
    uint8_t *partial; // the start of a frame whose rest has not arrived, or NULL
    size_t partial_length;
    uint64_t publications; // since the measured time began
    uint64_t newest_ns;    // the latest "t" of them
};

// What was counted. Publications, frames, bytes and latency belong to the measured time only, and
// never include a stalled client.
struct tally {
    int started;
    int subscribed;                  // now
    int closed;                      // of those that had a connection or tried to
    int closed_stalled;              // of these
    int errors;                      // commands answered by an error; such a client is closed by us
    int unreachable;                 // connections that TCP refused
    uint64_t refused[HTTP_STATUSES]; // upgrades answered by another status than 101
    uint64_t close_codes[CLOSE_CODES];

    uint64_t publications;
    uint64_t frames; // that held a publication
    uint64_t most_per_frame;
    uint64_t frames_of[FRAME_SIZES]; // index: publications in the frame, the last one or more
    uint64_t bytes;                  // payload of these frames
    uint64_t disordered;             // publications with an earlier "t" than one before them
    uint64_t first_ns;               // monotonic, of the first and the last publication
    uint64_t last_ns;
    struct histogram latency;
    struct histogram second_latency; // since the last `timeline` line
};

// Makes the clients, none of them connected, watched by `epoll`. `data.u32` of an event is the
// index of its client.
void clients_make(const struct plan *plan, int epoll);

void client_start(int index); // begins to connect
void client_event(int index); // call when epoll reports the client

// From here on publications are counted, and the first plan.stalled clients are not read.
void clients_measure(void);

// How many publications each reading client is to receive. When none is missing any,
// clients_waiting() is 0; before a number is expected it is the number of open reading clients.
void clients_expect(uint64_t publications);
int clients_waiting(void);

const struct tally *clients_tally(void);
void clients_next_second(void); // forgets second_latency

struct completeness {
    int complete;    // reading clients that received exactly what is expected
    uint64_t fewest; // publications of the reading client with the fewest, and with the most
    uint64_t most;
};
struct completeness clients_completeness(void);

#endif
