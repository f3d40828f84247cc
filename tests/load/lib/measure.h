// What the load tools share: clocks, CPU time, options, and a latency histogram of fixed size.

#ifndef MEASURE_H
#define MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_SECOND 1000000000ull
#define NS_PER_US 1000ull
#define MAX_PORTS 64

uint64_t monotonic_ns(void); // for durations and deadlines
uint64_t realtime_ns(void);  // for the "t" inside payloads, which crosses processes
double cpu_seconds(void);    // user + system time of this process so far

// Prints the message to stderr and exits with status 1.
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

// The number in `text`, or die naming the option when it is none or out of [least, most].
double parse_number(const char *option, const char *text, double least, double most);

// Fills `ports` from "8000" or "8000,8001"; returns how many there are.
int parse_ports(const char *text, uint16_t ports[MAX_PORTS]);

// An unconnected loopback TCP socket without Nagle's delay, or die.
int tcp_socket(int extra_flags);

// Lets the process hold as many sockets as the hard limit allows, or die when `needed` do not fit.
void raise_file_limit(size_t needed);

// Log-linear: 64 buckets per power of two, so a percentile is off by less than 2 %, and millions of
// samples cost no more memory than one. The maximum is exact.
#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_TOP_BITS 33 // microseconds: beyond two hours everything is one bucket
#define HISTOGRAM_BUCKETS ((HISTOGRAM_TOP_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t max_us;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t microseconds);
double histogram_ms(const struct histogram *histogram, double quantile); // 0 when empty

// Prints "p50_ms":…,"p99_ms":…,"max_ms":… (no braces) to stdout.
void histogram_print(const struct histogram *histogram);

// Prints the buckets that hold something, in order, as [[lowest, width, count],…] in microseconds,
// so that histograms of several processes can be added.
void histogram_print_bins(const struct histogram *histogram);

#endif
