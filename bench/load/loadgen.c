/* A closed-loop HTTP/1.1 load generator that checks every answer. Prints one JSON line.
 *
 * One thread, epoll, Linux only.
 *   loadgen --port 8000 --conns 64 --seconds 3 --warmup-seconds 0.5 --body body.json \
 *       --header "Authorization: Bearer sk-x" --expect '"usage"' [--requests 100000]
 *
 * Ten @ characters in the body become a number that no other request of the machine has: no cache can answer.
 * An answer is good when its status is 200 and its body holds the --expect text. Latencies are of the requests that
 * ended between the warm-up and the end; `finished` and the failures are of all. The connections begin one after the
 * other, spread over the warm-up: answers of equal length would else keep them in step for ever. --requests stops after
 * so many instead of after a time. What runs when the end comes is waited for, 30 s at most: nothing is left half-done.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 512
#define PATIENCE_NS 30000000000ull
#define SERIAL "@@@@@@@@@@"

typedef struct {
    int fd;
    enum { IDLE, SENDING, READING } state;
    size_t sent;
    uint64_t started_ns, first_event_ns;
    char *in;
    size_t len, cap, head, want, scanned, chunk_at;
    int status, is_chunked, closes, events;
} Conn;

static struct sockaddr_in server;
static int epoll_fd;
static char *request, *serial_at;
static size_t request_len;
static unsigned long long serial;
static const char *expect = "";
static uint64_t measure_ns, end_ns;
static unsigned long max_requests, n_started, n_finished, n_good, n_bad_status, n_bad_body, n_broken, n_events;
static float *latency_us, *first_event_us;
static size_t n_latency, n_first_event, room;
static char first_bad[400];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int may_start(void) { return now_ns() < end_ns && (!max_requests || n_started < max_requests); }

static int connect_to_server(Conn *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&server, sizeof server) && errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;
        return -1;
    }
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    return 0;
}

static void hang_up(Conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static int send_rest(Conn *c) { /* -1: the connection broke */
    while (c->sent < request_len) {
        if (c->sent == 0 && serial_at) {
            char digits[12];
            snprintf(digits, sizeof digits, "%010llu", serial++ % 10000000000ull);
            memcpy(serial_at, digits, 10);
        }
        ssize_t n = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
        c->sent += n;
    }
    c->state = READING;
    return 0;
}

static void note_bad(const char *text, size_t len) {
    if (first_bad[0]) return;
    /* Made safe to stand in a JSON string. */
    for (size_t i = 0; i < len && i < sizeof first_bad - 1; i++) {
        unsigned char ch = text[i];
        first_bad[i] = ch < 32 || ch > 126 || ch == '"' || ch == '\\' ? ' ' : ch;
    }
}

static int send_request(Conn *c) {
    c->sent = c->len = c->head = c->want = c->scanned = c->chunk_at = 0;
    c->status = c->is_chunked = c->closes = c->events = 0;
    c->first_event_ns = 0;
    c->state = SENDING;
    if (c->fd >= 0) return send_rest(c);
    return connect_to_server(c);
}

static void start(Conn *c) {
    c->state = IDLE;
    while (may_start()) {
        n_started++;
        c->started_ns = now_ns();
        if (send_request(c) == 0) return;
        n_broken++;
        note_bad("cannot connect or send", 22);
        hang_up(c);
        c->state = IDLE;
        usleep(1000);
    }
}

static void note_latency(Conn *c, uint64_t now) {
    if (n_latency == room) {
        room = room ? room * 2 : 65536;
        latency_us = realloc(latency_us, room * sizeof *latency_us);
        first_event_us = realloc(first_event_us, room * sizeof *first_event_us);
    }
    latency_us[n_latency++] = (now - c->started_ns) / 1000.0f;
    if (c->first_event_ns) first_event_us[n_first_event++] = (c->first_event_ns - c->started_ns) / 1000.0f;
}

static void finish(Conn *c) {
    uint64_t now = now_ns();
    n_finished++;
    if (c->status != 200) {
        n_bad_status++;
        note_bad(c->in, c->len);
    } else if (!memmem(c->in + c->head, c->len - c->head, expect, strlen(expect))) {
        n_bad_body++;
        note_bad(c->in + c->head, c->len - c->head);
    } else if (now >= measure_ns && now <= end_ns) {
        n_good++;
        n_events += c->events;
        note_latency(c, now);
    }
    if (c->closes) hang_up(c);
    start(c);
}

static void fail(Conn *c) {
    n_broken++;
    note_bad("the connection was closed before the answer was whole", 53);
    hang_up(c);
    start(c);
}

static void parse_head(Conn *c) {
    char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    if (!end) return;
    c->head = end - c->in + 4;
    c->in[c->head - 1] = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    c->status = atoi(c->in + 9);
    c->is_chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked") != NULL;
    c->closes = strcasestr(c->in, "\r\nconnection: close") != NULL;
    c->want = length ? c->head + strtoul(length + 17, NULL, 10) : (size_t)-1;
    c->in[c->head - 1] = '\n';
    c->scanned = c->chunk_at = c->head;
}

static void count_events(Conn *c) {
    char *at;
    while ((at = memmem(c->in + c->scanned, c->len - c->scanned, "data:", 5))) {
        if (!c->first_event_ns) c->first_event_ns = now_ns();
        c->events++;
        c->scanned = at - c->in + 5;
    }
    if (c->len > c->scanned + 4) c->scanned = c->len - 4;
}

static int is_whole(Conn *c) {
    if (!c->head) parse_head(c);
    if (!c->head) return 0;
    count_events(c);
    if (!c->is_chunked) return c->len >= c->want;
    for (;;) {
        char *nl = memchr(c->in + c->chunk_at, '\n', c->len - c->chunk_at);
        if (!nl) return 0;
        size_t n = strtoul(c->in + c->chunk_at, NULL, 16), body = nl - c->in + 1;
        if (c->len < body + n + 2) return 0;
        c->chunk_at = body + n + 2;
        if (n == 0) return 1;
    }
}

static void on_closed(Conn *c) {
    if (c->state == IDLE) hang_up(c);
    else fail(c);
}

static void on_readable(Conn *c) {
    for (;;) {
        if (c->cap - c->len < 16384) c->in = realloc(c->in, c->cap = c->cap * 2 + 32768);
        ssize_t n = recv(c->fd, c->in + c->len, c->cap - c->len, 0);
        if (n > 0) {
            c->len += n;
            if (c->state == READING && is_whole(c)) {
                finish(c);
                return;
            }
        } else {
            if (n == 0 || errno != EAGAIN) on_closed(c);
            return;
        }
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(const float *sorted, size_t n, double q) { return n ? sorted[(size_t)(q * (n - 1) + 0.5)] : 0; }

static void print_result(int hung) {
    double seconds = ((max_requests ? now_ns() : end_ns) - measure_ns) / 1e9;
    qsort(latency_us, n_latency, sizeof *latency_us, by_size);
    qsort(first_event_us, n_first_event, sizeof *first_event_us, by_size);
    printf("{\"finished\":%lu,\"measured\":%lu,\"rps\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"ttft_p50_us\":%.1f,"
           "\"ttft_p99_us\":%.1f,\"events_per_answer\":%.2f,\"bad_status\":%lu,\"bad_body\":%lu,\"broken\":%lu,"
           "\"hung\":%d,\"first_bad\":\"%s\"}\n",
           n_finished, n_good, n_good / seconds, quantile(latency_us, n_latency, .5), quantile(latency_us, n_latency, .99),
           quantile(first_event_us, n_first_event, .5), quantile(first_event_us, n_first_event, .99),
           n_good ? (double)n_events / n_good : 0, n_bad_status, n_bad_body, n_broken, hung, first_bad);
}

static void build_request(int port, const char *path, const char *body_file, const char *headers) {
    static char body[65536];
    FILE *f = fopen(body_file, "rb");
    if (!f) {
        perror(body_file);
        exit(2);
    }
    size_t len = fread(body, 1, sizeof body, f);
    fclose(f);
    request = malloc(len + 8192);
    request_len = sprintf(request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: */*\r\n%sContent-Length: %zu\r\n\r\n",
                          path, port, headers, len);
    memcpy(request + request_len, body, len);
    request_len += len;
    serial_at = memmem(request, request_len, SERIAL, 10);
    serial = now_ns() / 1000;
}

int main(int argc, char **argv) {
    const char *path = "/v1/chat/completions", *body_file = "";
    char headers[4096] = "";
    int port = 0, n_conns = 1;
    double seconds = 0, warmup_seconds = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--conns")) n_conns = atoi(value);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--warmup-seconds")) warmup_seconds = atof(value);
        else if (!strcmp(name, "--requests")) max_requests = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--body")) body_file = value;
        else if (!strcmp(name, "--expect")) expect = value;
        else if (!strcmp(name, "--header")) {
            size_t at = strlen(headers);
            snprintf(headers + at, sizeof headers - at, "%s\r\n", value);
        } else {
            fprintf(stderr, "loadgen: unknown option %s\n", name);
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    build_request(port, path, body_file, headers);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    epoll_fd = epoll_create1(0);
    measure_ns = now_ns() + (uint64_t)(warmup_seconds * 1e9);
    end_ns = max_requests ? UINT64_MAX : measure_ns + (uint64_t)(seconds * 1e9);
    Conn *conns = calloc(n_conns, sizeof *conns);
    for (int i = 0; i < n_conns; i++) conns[i].fd = -1;
    int n_begun = 0, busy = n_conns;
    uint64_t begin_ns = now_ns(), last_answer_ns = begin_ns;
    while (busy) {
        while (n_begun < n_conns && now_ns() - begin_ns >= warmup_seconds * 1e9 * n_begun / n_conns) start(&conns[n_begun++]);
        struct epoll_event events[BATCH];
        int n = epoll_wait(epoll_fd, events, BATCH, n_begun < n_conns ? 1 : 50);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (c->fd >= 0 && (events[i].events & EPOLLOUT) && c->state == SENDING && send_rest(c) < 0) fail(c);
            if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_readable(c);
        }
        if (n > 0) last_answer_ns = now_ns();
        if (now_ns() - last_answer_ns > PATIENCE_NS) break;
        busy = n_conns - n_begun;
        for (int i = 0; i < n_begun; i++) busy += conns[i].state != IDLE;
    }
    print_result(busy);
    return 0;
}
