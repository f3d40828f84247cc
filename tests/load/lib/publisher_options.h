// What publisher is asked to do.

#ifndef PUBLISHER_OPTIONS_H
#define PUBLISHER_OPTIONS_H

#include "measure.h"

#define PUBLISHER_CONNECTIONS_MAX 256
#define PUBLISHER_CHANNELS_MAX 10000

struct publisher_options {
    uint16_t ports[MAX_PORTS]; // connection i uses port i modulo their count
    int port_count;
    const char *api_key;
    const char *channel;
    int channels; // 0: `channel` itself; M: request i goes to `channel` + (i modulo M)
    int batch;    // publications per request; 0: the publish method
    int connections;
    int pipeline; // requests in flight per connection
    int credits;  // 0: not paced by delivery
    int data_bytes;
    double rate;     // requests per second; 0: unpaced
    double seconds;  // when to stop sending
    double requests; // how many to send at most
};

// Reads the command line; ends the process with a message when it is wrong or asks for help.
struct publisher_options publisher_options_parse(int argc, char **argv);

#endif
