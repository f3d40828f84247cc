#include "publisher_options.h"

#include "http_connection.h"
#include "publish_request.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_BATCH 1000
#define MAX_DATA_BYTES (1024 * 1024)
#define MAX_SECONDS 3600

static const char usage[] =
    "publisher --ports P[,P…] [options]: paced publishing to the HTTP API\n"
    "  --api-key K        (bench)\n"
    "  --channel NAME     (bench)\n"
    "  --channels M       publish to NAME0 … NAME(M-1) in turn\n"
    "  --batch K          K publications per request, by the batch method\n"
    "  --rate R           requests per second (0: as fast as they are answered)\n"
    "  --credits W        W requests, then one for each byte on standard input\n"
    "  --connections C    (1)\n"
    "  --pipeline D       requests in flight per connection (1)\n"
    "  --data-bytes N     size of the data of a publication (200)\n"
    "  --seconds S        stop sending after S (10)\n"
    "  --requests N       stop sending after N\n";

static const struct option long_options[] = {
    {"ports", required_argument, NULL, 'p'},    {"api-key", required_argument, NULL, 'k'},
    {"channel", required_argument, NULL, 'c'},  {"channels", required_argument, NULL, 'm'},
    {"batch", required_argument, NULL, 'b'},    {"rate", required_argument, NULL, 'r'},
    {"credits", required_argument, NULL, 'w'},  {"connections", required_argument, NULL, 'n'},
    {"pipeline", required_argument, NULL, 'd'}, {"data-bytes", required_argument, NULL, 'l'},
    {"seconds", required_argument, NULL, 's'},  {"requests", required_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},           {0},
};

static void parse_option(struct publisher_options *options, int code) {
    switch (code) {
    case 'p':
        options->port_count = parse_ports(optarg, options->ports);
        break;
    case 'k':
        options->api_key = optarg;
        break;
    case 'c':
        options->channel = optarg;
        break;
    case 'm':
        options->channels = (int)parse_number("channels", optarg, 1, PUBLISHER_CHANNELS_MAX);
        break;
    case 'b':
        options->batch = (int)parse_number("batch", optarg, 1, MAX_BATCH);
        break;
    case 'r':
        options->rate = parse_number("rate", optarg, 0, 1e6);
        break;
    case 'w':
        options->credits = (int)parse_number("credits", optarg, 1, MAX_BATCH);
        break;
    case 'n':
        options->connections =
            (int)parse_number("connections", optarg, 1, PUBLISHER_CONNECTIONS_MAX);
        break;
    case 'd':
        options->pipeline = (int)parse_number("pipeline", optarg, 1, PIPELINE_MAX);
        break;
    case 'l':
        options->data_bytes =
            (int)parse_number("data-bytes", optarg, PUBLISH_DATA_MIN, MAX_DATA_BYTES);
        break;
    case 's':
        options->seconds = parse_number("seconds", optarg, 0, MAX_SECONDS);
        break;
    case 'q':
        options->requests = parse_number("requests", optarg, 1, 1e12);
        break;
    default:
        fputs(usage, code == 'h' ? stdout : stderr);
        exit(code == 'h' ? 0 : 2);
    }
}

struct publisher_options publisher_options_parse(int argc, char **argv) {
    struct publisher_options options = {
        .api_key = "bench",
        .channel = "bench",
        .connections = 1,
        .pipeline = 1,
        .data_bytes = 200,
        .seconds = 10,
        .requests = 1e12,
    };
    for (int code; (code = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
        parse_option(&options, code);
    if (!options.port_count || optind < argc) {
        fputs(usage, stderr);
        exit(2);
    }
    return options;
}
