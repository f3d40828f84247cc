// What wsload is asked to do.

#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include "clients.h"

struct load_options {
    struct plan plan;
    double seconds;       // after "ready"
    double ready_timeout; // seconds
    uint64_t expect;      // publications of each reading client, if `expects`
    bool expects;
    uint64_t credit_every; // deliveries; 0: no credits
    int credit_fd;
    bool timeline;
    bool control;
};

// Reads the command line; ends the process with a message when it is wrong or asks for help.
struct load_options load_options_parse(int argc, char **argv);

#endif
