/* A fake OpenAI upstream: as cheap as can be, and it keeps the bill of all that it served.
 *
 * One thread, epoll, HTTP/1.1 with keep-alive, Linux only.
 *   POST <anything>           a chat.completion of about 600 bytes with its usage
 *   ... with "stream":true    SSE: --events content events, 2 ms before each but the first, then finish, usage if it
 *                             was asked for, and [DONE]; "gap-us=N" anywhere in the body sets another pause
 *   GET /bill                 {"aborted":0,"models":{"small":{"requests":1,"input":19,"output":42}}}
 *   GET <anything else>       an empty model list: good enough for a health check
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
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PROMPT_TOKENS 19
#define ANSWER_TOKENS 42
#define GAP_US 2000
#define MAX_MODELS 16
#define BATCH 256

typedef struct {
    char name[64];
    unsigned long requests, input, output;
} Billed;

typedef struct Conn {
    int fd;
    char *in;
    size_t in_len, in_cap;
    char *out;
    size_t out_len, out_sent, out_cap;
    int is_streaming, next_event, wants_usage, keeps_alive;
    long gap_us;
    Billed *billed;
    uint64_t due_ns;
    struct Conn *next; /* in the queue of streams that wait, or among the dead */
    int is_queued, is_dead;
} Conn;

static int epoll_fd, timer_fd;
static int n_events = 32;
static Conn *queue_head, *queue_tail, *dead;
static Billed bill[MAX_MODELS];
static int n_models;
static unsigned long n_aborted;

static const char CONTENT[] =
    "The capital of France is Paris. It lies on the river Seine, in the north of the country, and has been "
    "the seat of most French governments since the tenth century. Is there anything else that you would like to know?";
static char plain_answer[2048], empty_list[256];
static size_t plain_answer_len, empty_list_len;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static size_t with_head(char *to, size_t room, const char *body) {
    return snprintf(to, room, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                    strlen(body), body);
}

static void build_answers(void) {
    char body[1500];
    snprintf(body, sizeof body,
             "{\"id\":\"chatcmpl-mock0123456789abcdef0123\",\"object\":\"chat.completion\",\"created\":1790000000,"
             "\"model\":\"mock-model\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\","
             "\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
             "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
             "\"prompt_tokens_details\":{\"cached_tokens\":0}},\"system_fingerprint\":\"fp_mock\"}",
             CONTENT, PROMPT_TOKENS, ANSWER_TOKENS, PROMPT_TOKENS + ANSWER_TOKENS);
    plain_answer_len = with_head(plain_answer, sizeof plain_answer, body);
    empty_list_len = with_head(empty_list, sizeof empty_list, "{\"object\":\"list\",\"data\":[]}");
}

static Billed *bill_of(const char *body, size_t len) {
    char name[64] = "";
    const char *at = memmem(body, len, "\"model\":", 8);
    if (at && (at = memchr(at + 8, '"', body + len - at - 8))) {
        const char *end = memchr(at + 1, '"', body + len - at - 1);
        if (end && end - at - 1 < (long)sizeof name) memcpy(name, at + 1, end - at - 1);
    }
    for (int i = 0; i < n_models; i++)
        if (!strcmp(bill[i].name, name)) return &bill[i];
    if (n_models == MAX_MODELS) return &bill[MAX_MODELS - 1];
    strcpy(bill[n_models].name, name);
    return &bill[n_models++];
}

static void charge(Billed *billed, int output) {
    billed->requests++;
    billed->input += PROMPT_TOKENS;
    billed->output += output;
}

static void put(Conn *c, const char *s, size_t n) {
    if (c->out_len + n > c->out_cap) {
        c->out_cap = (c->out_len + n) * 2 + 1024;
        c->out = realloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, s, n);
    c->out_len += n;
}

static void watch(Conn *c, int op, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epoll_fd, op, c->fd, &e);
}

/* The memory goes only after the whole epoll batch: a later event of the same batch may still point at it. */
static void bury(Conn *c) {
    c->next = dead;
    dead = c;
}

static void drop(Conn *c) {
    if (c->is_dead) return;
    if (c->is_streaming) n_aborted++;
    close(c->fd);
    c->is_dead = 1;
    if (!c->is_queued) bury(c);
}

static int flush(Conn *c) { /* 0: all sent or waiting for room; -1: the peer is gone */
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return -1;
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return 0;
        }
        c->out_sent += n;
    }
    c->out_len = c->out_sent = 0;
    return 0;
}

#define EVENT_HEAD                                                                                              \
    "{\"id\":\"chatcmpl-mock0123456789abcdef0123\",\"object\":\"chat.completion.chunk\",\"created\":1790000000," \
    "\"model\":\"mock-model\",\"system_fingerprint\":\"fp_mock\",\"choices\":["
#define CHOICE(delta, finish) EVENT_HEAD "{\"index\":0,\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":" finish "}]}"

static void put_event(Conn *c, const char *json, int len) {
    char size[32];
    put(c, size, snprintf(size, sizeof size, "%x\r\n", len + 8));
    put(c, "data: ", 6);
    put(c, json, len);
    put(c, "\n\n\r\n", 4);
}

static void put_next_event(Conn *c) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char role[] = CHOICE("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", "null");
    static const char stop[] = CHOICE("", "\"stop\"");
    char json[600];
    int i = c->next_event++;
    if (i == 0) {
        put(c, head, sizeof head - 1);
        put_event(c, role, sizeof role - 1);
    }
    put_event(c, json, snprintf(json, sizeof json, CHOICE("\"content\":\" word%d\"", "null"), i));
    if (i < n_events - 1) return;
    put_event(c, stop, sizeof stop - 1);
    if (c->wants_usage)
        put_event(c, json, snprintf(json, sizeof json,
                                    EVENT_HEAD "],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}}",
                                    PROMPT_TOKENS, n_events, PROMPT_TOKENS + n_events));
    put(c, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", 24);
    charge(c->billed, n_events);
    c->is_streaming = 0;
}

/* The queue is in the order of time as long as all streams of the moment have the same pause, as those of a load do. */
static int step_stream(Conn *c) { /* -1: the peer is gone */
    do {
        put_next_event(c);
        if (flush(c) < 0) return -1;
    } while (c->is_streaming && !c->gap_us);
    if (!c->is_streaming) return 0;
    c->due_ns = now_ns() + c->gap_us * 1000ull;
    c->next = NULL;
    c->is_queued = 1;
    if (queue_tail) queue_tail->next = c;
    else queue_head = c;
    queue_tail = c;
    return 0;
}

static void answer_bill(Conn *c) {
    char body[2048], answer[2400];
    size_t n = snprintf(body, sizeof body, "{\"aborted\":%lu,\"models\":{", n_aborted);
    for (int i = 0; i < n_models; i++)
        n += snprintf(body + n, sizeof body - n, "%s\"%s\":{\"requests\":%lu,\"input\":%lu,\"output\":%lu}", i ? "," : "",
                      bill[i].name, bill[i].requests, bill[i].input, bill[i].output);
    snprintf(body + n, sizeof body - n, "}}");
    put(c, answer, with_head(answer, sizeof answer, body));
}

static void answer(Conn *c, const char *body, size_t len) {
    if (!strncmp(c->in, "GET /bill ", 10)) {
        answer_bill(c);
    } else if (strncmp(c->in, "POST", 4)) {
        put(c, empty_list, empty_list_len);
    } else {
        c->billed = bill_of(body, len);
        c->is_streaming = memmem(body, len, "\"stream\":true", 13) || memmem(body, len, "\"stream\": true", 14);
        c->wants_usage = memmem(body, len, "\"include_usage\":true", 20) || memmem(body, len, "\"include_usage\": true", 21);
        char *gap = memmem(body, len, "gap-us=", 7);
        c->gap_us = gap ? strtol(gap + 7, NULL, 10) : GAP_US;
        c->next_event = 0;
        if (c->is_streaming) return;
        put(c, plain_answer, plain_answer_len);
        charge(c->billed, ANSWER_TOKENS);
    }
}

static int take_request(Conn *c) { /* 1: took one, 0: needs more bytes, -1: the connection is done */
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = end - c->in + 4, len = 0;
    c->in[head - 1] = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    int is_chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked") != NULL;
    c->keeps_alive = !strcasestr(c->in, "\r\nconnection: close");
    c->in[head - 1] = '\n';
    if (is_chunked) {
        char *last = memmem(c->in + head, c->in_len - head, "0\r\n\r\n", 5);
        if (!last) return 0;
        len = last + 5 - (c->in + head);
    } else if (length) {
        len = strtoul(length + 17, NULL, 10);
    }
    if (c->in_len < head + len) return 0;
    answer(c, c->in + head, len);
    c->in_len -= head + len;
    memmove(c->in, c->in + head + len, c->in_len);
    if (c->is_streaming ? step_stream(c) < 0 : flush(c) < 0) return -1;
    return c->is_streaming || c->keeps_alive || c->out_len ? 1 : -1;
}

static void take_requests(Conn *c) {
    int taken = 1;
    while (!c->is_streaming && c->in_len && taken > 0) taken = take_request(c);
    if (taken < 0) drop(c);
}

static void on_readable(Conn *c) {
    for (;;) {
        if (c->in_len == c->in_cap) c->in = realloc(c->in, c->in_cap *= 2);
        ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
        if (n > 0) {
            c->in_len += n;
            if (c->in_len < c->in_cap) break;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            drop(c);
            return;
        }
    }
    take_requests(c);
}

static void on_writable(Conn *c) {
    if (flush(c) < 0) {
        drop(c);
    } else if (!c->out_len) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        if (!c->is_streaming && !c->keeps_alive) drop(c);
    }
}

static void run_due_streams(void) {
    uint64_t until = now_ns() + 20000;
    while (queue_head && queue_head->due_ns <= until) {
        Conn *c = queue_head;
        queue_head = c->next;
        if (!queue_head) queue_tail = NULL;
        c->is_queued = 0;
        if (c->is_dead) bury(c);
        else if (step_stream(c) < 0) drop(c);
        else if (!c->is_streaming) c->keeps_alive ? take_requests(c) : drop(c);
    }
}

static void set_timer(void) {
    uint64_t due = queue_head ? queue_head->due_ns : 0;
    struct itimerspec t = {.it_value = {.tv_sec = due / 1000000000ull, .tv_nsec = due % 1000000000ull}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->in = malloc(c->in_cap = 8192);
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int listen_on(int port) { /* port 0: any free one */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096) || getsockname(fd, (void *)&a, &len)) {
        perror("mock_upstream: cannot listen");
        exit(1);
    }
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    int port = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--events")) n_events = atoi(argv[i + 1]);
        else {
            fprintf(stderr, "mock_upstream: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    build_answers();
    epoll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    Conn listener = {.fd = listen_on(port)}, timer = {.fd = timer_fd};
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    watch(&timer, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(epoll_fd, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            uint64_t expirations;
            if (c == &listener) {
                accept_all(c->fd);
            } else if (c == &timer) {
                if (read(timer_fd, &expirations, sizeof expirations) > 0) run_due_streams();
            } else {
                if (!c->is_dead && (events[i].events & EPOLLOUT)) on_writable(c);
                if (!c->is_dead && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_readable(c);
            }
        }
        if (queue_head) set_timer();
        while (dead) {
            Conn *c = dead;
            dead = c->next;
            free(c->in);
            free(c->out);
            free(c);
        }
    }
}
