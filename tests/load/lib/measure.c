#define _GNU_SOURCE
#include "measure.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define RESERVED_FILES 64 // standard streams, epoll, pipes, and what the C library opens

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

uint64_t realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }

double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

double parse_number(const char *option, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most))
        die("--%s is \"%s\": give a number from %g to %g", option, text, least, most);
    return value;
}

int parse_ports(const char *text, uint16_t ports[MAX_PORTS]) {
    int count = 0;
    for (const char *rest = text;;) {
        char *end;
        long port = strtol(rest, &end, 10);
        if (end == rest || (*end != '\0' && *end != ',') || port < 1 || port > UINT16_MAX)
            die("--ports is \"%s\": give port numbers joined by commas", text);
        if (count == MAX_PORTS)
            die("--ports names more than %d ports", MAX_PORTS);
        ports[count++] = (uint16_t)port;
        if (*end == '\0')
            return count;
        rest = end + 1;
    }
}

int tcp_socket(int extra_flags) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | extra_flags, 0);
    if (fd < 0)
        die("socket: %m");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

void raise_file_limit(size_t needed) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < needed + RESERVED_FILES)
        die("%zu connections do not fit under the limit of %llu open files: spread them over more "
            "processes, or raise the hard limit (ulimit -Hn)",
            needed, (unsigned long long)limit.rlim_cur);
}

static size_t bucket_of(uint64_t us) {
    const uint64_t top = (1ull << HISTOGRAM_TOP_BITS) - 1;
    if (us > top)
        us = top;
    if (us < (1ull << HISTOGRAM_SUB_BITS))
        return us;
    int shift = 63 - __builtin_clzll(us) - HISTOGRAM_SUB_BITS;
    return ((size_t)shift << HISTOGRAM_SUB_BITS) + (us >> shift);
}

static size_t bucket_shift(size_t bucket) {
    const size_t exact = 2ul << HISTOGRAM_SUB_BITS; // below this a bucket holds one value
    return bucket < exact ? 0 : (bucket >> HISTOGRAM_SUB_BITS) - 1;
}

static uint64_t bucket_low_us(size_t bucket) {
    size_t shift = bucket_shift(bucket);
    return (uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS)) << shift;
}

static uint64_t bucket_width_us(size_t bucket) { return 1ull << bucket_shift(bucket); }

// The middle of what falls into the bucket.
static double bucket_us(size_t bucket) {
    return (double)bucket_low_us(bucket) + (double)(bucket_width_us(bucket) - 1) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t microseconds) {
    histogram->count++;
    histogram->buckets[bucket_of(microseconds)]++;
    if (microseconds > histogram->max_us)
        histogram->max_us = microseconds;
}

double histogram_ms(const struct histogram *histogram, double quantile) {
    uint64_t wanted = (uint64_t)((double)histogram->count * quantile);
    uint64_t passed = 0;
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        passed += histogram->buckets[bucket];
        if (passed > wanted)
            return bucket_us(bucket) / 1e3;
    }
    return (double)histogram->max_us / 1e3;
}

void histogram_print(const struct histogram *histogram) {
    printf("\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f", histogram_ms(histogram, 0.50),
           histogram_ms(histogram, 0.99), (double)histogram->max_us / 1e3);
}

void histogram_print_bins(const struct histogram *histogram) {
    const char *separator = "";
    putchar('[');
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        if (!histogram->buckets[bucket])
            continue;
        printf("%s[%lu,%lu,%lu]", separator, bucket_low_us(bucket), bucket_width_us(bucket),
               histogram->buckets[bucket]);
        separator = ",";
    }
    putchar(']');
}
