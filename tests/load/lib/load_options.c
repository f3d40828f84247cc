#include "load_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_CLIENTS 1000000
#define MAX_SECONDS 3600

static const char usage[] =
    "wsload --ports P[,P…] [options]: WebSocket clients that count publications\n"
    "  --clients N         (100)\n"
    "  --channel NAME      (bench)\n"
    "  --channels M        spread the clients over NAME0 … NAME(M-1)\n"
    "  --rate R            connections begun per second (2000)\n"
    "  --source-ips N      connect from 127.0.0.1 … 127.0.0.1+N-1 (1)\n"
    "  --stalled N         the first N stop reading once all are subscribed (0)\n"
    "  --seconds S         end at the latest so long after \"ready\" (10)\n"
    "  --expect N          end as soon as each reading client has N publications\n"
    "  --ready-timeout S   give up when not every client is settled by then (60)\n"
    "  --timeline          print a line per second\n"
    "  --control           take \"expect N\" from standard input, hold the clients until it ends\n"
    "  --credit-every N    write a byte to the file descriptor below for each N deliveries\n"
    "  --credit-fd F\n"
    "  --protocol NAME     centrifuge or socket.io (centrifuge)\n"
    "  --token JWT --host IPV4 (127.0.0.1) --path PATH (the protocol's)\n";

enum option_code {
    OPTION_PORTS = 1,
    OPTION_CLIENTS,
    OPTION_CHANNEL,
    OPTION_CHANNELS,
    OPTION_RATE,
    OPTION_SOURCE_IPS,
    OPTION_STALLED,
    OPTION_SECONDS,
    OPTION_EXPECT,
    OPTION_READY_TIMEOUT,
    OPTION_TIMELINE,
    OPTION_CONTROL,
    OPTION_CREDIT_EVERY,
    OPTION_CREDIT_FD,
    OPTION_PROTOCOL,
    OPTION_TOKEN,
    OPTION_HOST,
    OPTION_PATH,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"ports", required_argument, NULL, OPTION_PORTS},
    {"clients", required_argument, NULL, OPTION_CLIENTS},
    {"channel", required_argument, NULL, OPTION_CHANNEL},
    {"channels", required_argument, NULL, OPTION_CHANNELS},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"source-ips", required_argument, NULL, OPTION_SOURCE_IPS},
    {"stalled", required_argument, NULL, OPTION_STALLED},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"expect", required_argument, NULL, OPTION_EXPECT},
    {"ready-timeout", required_argument, NULL, OPTION_READY_TIMEOUT},
    {"timeline", no_argument, NULL, OPTION_TIMELINE},
    {"control", no_argument, NULL, OPTION_CONTROL},
    {"credit-every", required_argument, NULL, OPTION_CREDIT_EVERY},
    {"credit-fd", required_argument, NULL, OPTION_CREDIT_FD},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"token", required_argument, NULL, OPTION_TOKEN},
    {"host", required_argument, NULL, OPTION_HOST},
    {"path", required_argument, NULL, OPTION_PATH},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

static void parse_option(struct load_options *options, int code, const char *name) {
    struct plan *plan = &options->plan;
    switch (code) {
    case OPTION_PORTS:
        plan->port_count = parse_ports(optarg, plan->ports);
        break;
    case OPTION_CLIENTS:
        plan->clients = (int)parse_number(name, optarg, 1, MAX_CLIENTS);
        break;
    case OPTION_CHANNEL:
        plan->channel = optarg;
        break;
    case OPTION_CHANNELS:
        plan->channels = (int)parse_number(name, optarg, 1, MAX_CLIENTS);
        break;
    case OPTION_RATE:
        plan->per_second = parse_number(name, optarg, 1, 1e6);
        break;
    case OPTION_SOURCE_IPS:
        plan->source_ips = (int)parse_number(name, optarg, 1, 1e6);
        break;
    case OPTION_STALLED:
        plan->stalled = (int)parse_number(name, optarg, 0, MAX_CLIENTS);
        break;
    case OPTION_SECONDS:
        options->seconds = parse_number(name, optarg, 0, MAX_SECONDS);
        break;
    case OPTION_EXPECT:
        options->expect = (uint64_t)parse_number(name, optarg, 0, 1e12);
        options->expects = true;
        break;
    case OPTION_READY_TIMEOUT:
        options->ready_timeout = parse_number(name, optarg, 0, MAX_SECONDS);
        break;
    case OPTION_TIMELINE:
        options->timeline = true;
        break;
    case OPTION_CONTROL:
        options->control = true;
        break;
    case OPTION_CREDIT_EVERY:
        options->credit_every = (uint64_t)parse_number(name, optarg, 1, 1e12);
        break;
    case OPTION_CREDIT_FD:
        options->credit_fd = (int)parse_number(name, optarg, 0, 1e6);
        break;
    case OPTION_PROTOCOL:
        plan->protocol = protocol_named(optarg);
        if (!plan->protocol)
            die("--protocol is \"%s\": give centrifuge or socket.io", optarg);
        break;
    case OPTION_TOKEN:
        plan->token = optarg;
        break;
    case OPTION_HOST:
        plan->host = optarg;
        break;
    case OPTION_PATH:
        plan->path = optarg;
        break;
    default:
        fputs(usage, code == OPTION_HELP ? stdout : stderr);
        exit(code == OPTION_HELP ? 0 : 2);
    }
}

struct load_options load_options_parse(int argc, char **argv) {
    struct load_options options = {
        .plan = {.host = "127.0.0.1",
                 .protocol = &centrifuge_protocol,
                 .channel = "bench",
                 .token = "",
                 .clients = 100,
                 .source_ips = 1,
                 .per_second = 2000},
        .seconds = 10,
        .ready_timeout = 60,
        .credit_fd = -1,
    };
    int position;
    for (int code; (code = getopt_long(argc, argv, "", long_options, &position)) != -1;)
        parse_option(&options, code, code == '?' ? NULL : long_options[position].name);
    if (!options.plan.port_count || optind < argc) {
        fputs(usage, stderr);
        exit(2);
    }
    if (!options.plan.path)
        options.plan.path = options.plan.protocol->path;
    return options;
}
