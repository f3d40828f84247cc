// wsload: holds many WebSocket clients, of the Centrifuge protocol (JSON) or of Socket.IO, and counts
// what each receives.
//
// One thread, one epoll set, so that a generator costs less than the server it loads. It prints one
// JSON object per line: "ready" when every client is subscribed or lost, "second" each second after
// that if asked (--timeline), and one "summary", when every reading client has received the
// expected publications or the time is over. Latency is the time since the "t" (Unix time in ns)
// inside a payload; a publication whose "t" is earlier than that of one before it, of the same
// client, counts as disordered (which tells of the server where one connection published).
//
// A harness can steer it (--control): a line "expect N" on standard input sets how many
// publications each client is to receive, the clients stay connected after the summary, and end of
// input ends the process. And it can pace a publisher by what has been delivered (--credit-every):
// for each so many deliveries a byte is written to a file descriptor (--credit-fd), which publisher
// reads as a permission.

#define _GNU_SOURCE
#include "lib/clients.h"
#include "lib/load_options.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CONTROL_INDEX UINT32_MAX // the event of standard input; clients are numbered from 0
#define EVENTS_PER_WAIT 1024
#define STARTING_WAIT_MS 1 // while clients are being started on a schedule
#define IDLE_WAIT_MS 10
#define CONTROL_LINE_MAX 256

struct run {
    struct load_options options;
    int epoll;
    uint64_t begun_ns;
    uint64_t ready_ns; // 0 before
    double cpu_at_ready;
    uint64_t seconds_told;
    uint64_t told_publications; // up to the last "second" line
    uint64_t told_frames;
    uint64_t credits_given;
    uint64_t expected; // of each reading client, if `expects`
    bool expects;
    bool over;      // the summary is printed
    bool input_end; // of standard input
    char control_line[CONTROL_LINE_MAX];
    size_t control_length;
};

static double seconds_between(uint64_t from_ns, uint64_t to_ns) {
    return (double)(to_ns - from_ns) / (double)NS_PER_SECOND;
}

static void tell_ready(const struct run *run) {
    const struct tally *tally = clients_tally();
    printf("{\"event\":\"ready\",\"clients\":%d,\"subscribed\":%d,\"lost\":%d,\"errors\":%d,"
           "\"seconds\":%.3f}\n",
           tally->started, tally->subscribed, tally->closed, tally->errors,
           seconds_between(run->begun_ns, run->ready_ns));
    fflush(stdout);
}

static void tell_second(struct run *run) {
    const struct tally *tally = clients_tally();
    printf("{\"event\":\"second\",\"second\":%lu,\"publications\":%lu,\"frames\":%lu,",
           run->seconds_told, tally->publications - run->told_publications,
           tally->frames - run->told_frames);
    histogram_print(&tally->second_latency);
    puts("}");
    fflush(stdout);
    run->told_publications = tally->publications;
    run->told_frames = tally->frames;
    run->seconds_told++;
    clients_next_second();
}

// Prints "name":{"index":count,…}, without the indices that were never counted.
static void print_counts(const char *name, const uint64_t *counts, int length) {
    const char *separator = "";
    printf("\"%s\":{", name);
    for (int i = 0; i < length; i++) {
        if (!counts[i])
            continue;
        printf("%s\"%d\":%lu", separator, i, counts[i]);
        separator = ",";
    }
    fputs("},", stdout);
}

static void tell_summary(const struct run *run) {
    const struct tally *tally = clients_tally();
    const struct completeness completeness = clients_completeness();
    double active_s = seconds_between(tally->first_ns, tally->last_ns);
    printf("{\"event\":\"summary\",\"clients\":%d,\"subscribed\":%d,\"stalled\":%d,\"lost\":%d,"
           "\"lost_stalled\":%d,\"errors\":%d,\"unreachable\":%d,",
           tally->started, tally->subscribed, run->options.plan.stalled, tally->closed,
           tally->closed_stalled, tally->errors, tally->unreachable);
    print_counts("closed", tally->close_codes, CLOSE_CODES);
    print_counts("refused", tally->refused, HTTP_STATUSES);
    printf("\"setup_s\":%.3f,\"seconds\":%.3f,\"active_s\":%.3f,",
           seconds_between(run->begun_ns, run->ready_ns),
           seconds_between(run->ready_ns, monotonic_ns()), active_s);
    if (run->expects)
        printf("\"expected\":%lu,\"complete\":%d,", run->expected, completeness.complete);
    else
        fputs("\"expected\":null,\"complete\":null,", stdout);
    printf("\"fewest\":%lu,\"most\":%lu,\"publications\":%lu,\"frames\":%lu,"
           "\"publications_per_frame\":%.3f,\"most_per_frame\":%lu,",
           completeness.fewest, completeness.most, tally->publications, tally->frames,
           tally->frames ? (double)tally->publications / (double)tally->frames : 0,
           tally->most_per_frame);
    print_counts("frames_of", tally->frames_of, FRAME_SIZES);
    printf("\"bytes\":%lu,\"deliveries_per_s\":%.0f,", tally->bytes,
           active_s > 0 ? (double)tally->publications / active_s : 0);
    histogram_print(&tally->latency);
    fputs(",\"latency_us\":", stdout);
    histogram_print_bins(&tally->latency);
    printf(",\"disordered\":%lu,\"cpu_s\":%.3f}\n", tally->disordered,
           cpu_seconds() - run->cpu_at_ready);
    fflush(stdout);
}

static void start_due_clients(const struct run *run, uint64_t now_ns) {
    const struct plan *plan = &run->options.plan;
    double due = seconds_between(run->begun_ns, now_ns) * plan->per_second + 1;
    for (int i = clients_tally()->started; i < plan->clients && i < due; i++)
        client_start(i);
}

static void become_ready(struct run *run, uint64_t now_ns) {
    run->ready_ns = now_ns;
    run->cpu_at_ready = cpu_seconds();
    clients_measure();
    if (run->expects)
        clients_expect(run->expected);
    tell_ready(run);
}

static void obey(struct run *run, const char *line) {
    unsigned long number;
    if (sscanf(line, "expect %lu", &number) != 1)
        die("standard input says \"%s\": say \"expect N\"", line);
    run->expected = number;
    run->expects = true;
    if (run->ready_ns)
        clients_expect(number);
}

static void read_control(struct run *run) {
    size_t room = CONTROL_LINE_MAX - 1 - run->control_length;
    ssize_t got = read(STDIN_FILENO, run->control_line + run->control_length, room);
    if (got <= 0) {
        run->input_end = true;
        epoll_ctl(run->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        return;
    }
    run->control_length += (size_t)got;
    run->control_line[run->control_length] = '\0';
    for (char *end; (end = strchr(run->control_line, '\n'));) {
        *end = '\0';
        obey(run, run->control_line);
        run->control_length -= (size_t)(end + 1 - run->control_line);
        memmove(run->control_line, end + 1, run->control_length + 1);
    }
    if (run->control_length == CONTROL_LINE_MAX - 1)
        die("a line of standard input is too long");
}

static void give_credits(struct run *run) {
    if (!run->options.credit_every)
        return;
    uint64_t earned = clients_tally()->publications / run->options.credit_every;
    for (; run->credits_given < earned; run->credits_given++)
        if (write(run->options.credit_fd, "+", 1) < 0)
            return; // the publisher has ended, or is behind by a full pipe: told again next time
}

static void end_if_due(struct run *run, uint64_t now_ns) {
    bool complete = run->expects && clients_waiting() == 0;
    if (complete || seconds_between(run->ready_ns, now_ns) >= run->options.seconds) {
        if (run->options.timeline)
            tell_second(run);
        tell_summary(run);
        run->over = true;
    }
}

// What has become due since the last pass of the loop.
static void keep_time(struct run *run, uint64_t now_ns) {
    const struct plan *plan = &run->options.plan;
    const struct tally *tally = clients_tally();
    if (!run->ready_ns) {
        start_due_clients(run, now_ns);
        if (tally->started == plan->clients && tally->subscribed + tally->closed == plan->clients)
            become_ready(run, now_ns);
        else if (seconds_between(run->begun_ns, now_ns) > run->options.ready_timeout)
            die("not ready after %.0f s: %d of %d clients started, %d subscribed, %d lost",
                run->options.ready_timeout, tally->started, plan->clients, tally->subscribed,
                tally->closed);
    } else if (!run->over) {
        if (run->options.timeline &&
            seconds_between(run->ready_ns, now_ns) >= (double)run->seconds_told + 1)
            tell_second(run);
        end_if_due(run, now_ns);
    }
}

static void loop(struct run *run) {
    struct epoll_event events[EVENTS_PER_WAIT];
    for (;;) {
        keep_time(run, monotonic_ns());
        if (run->over && (run->input_end || !run->options.control))
            return;
        int wait_ms =
            clients_tally()->started < run->options.plan.clients ? STARTING_WAIT_MS : IDLE_WAIT_MS;
        int count = epoll_wait(run->epoll, events, EVENTS_PER_WAIT, wait_ms);
        for (int i = 0; i < count; i++) {
            if (events[i].data.u32 == CONTROL_INDEX)
                read_control(run);
            else
                client_event((int)events[i].data.u32);
        }
        give_credits(run);
    }
}

int main(int argc, char **argv) {
    static struct run run;
    run.options = load_options_parse(argc, argv);
    run.expects = run.options.expects;
    run.expected = run.options.expect;
    signal(SIGPIPE, SIG_IGN); // a publisher that ended early is no reason to stop counting
    raise_file_limit((size_t)run.options.plan.clients);
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run.options.control) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = CONTROL_INDEX};
        if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
            die("--control needs a pipe as standard input: %m");
    }
    if (run.options.credit_every && fcntl(run.options.credit_fd, F_SETFL, O_NONBLOCK) < 0)
        die("--credit-fd %d: %m", run.options.credit_fd);
    clients_make(&run.options.plan, run.epoll);
    run.begun_ns = monotonic_ns();
    loop(&run);
    return 0;
}
