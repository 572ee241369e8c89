/* An upstream that gives fixed answers, as fast as the socket takes them.
 *
 *   upstream PORT NAME:INTERVAL_MS:FILE...
 *
 * FILE holds the bytes of a whole response, head and framing included. A request with `answer=NAME` in its target
 * gets that answer, any other the first. With an interval, one event is sent every INTERVAL_MS; with 0, the answer
 * is written as fast as the socket takes it, with as many events in a write as go in. (With one write for each
 * event instead, how many of them a proxy finds in a read depends on chance, and so does what it spends on each:
 * the figures scatter by a factor of six.)
 *
 * `GET /stats` answers with the counters, so that the bench can tell whether a proxy reuses its connections and
 * how many events it was given.
 *
 * Only what a benchmark of correct proxies needs: Content-Length bodies, no pipelining. Anything else gets a 400,
 * which the load generator reports as an error.
 */

#include "wire.h"

enum {
    HEAD_BYTES = 16384,       /* far above the ~1 KB of an SDK's head */
    MAX_ANSWERS = 8,
    MAX_CONNECTIONS = 8192,   /* above the 1,000 streams, with room for a pool */
    MAX_EVENTS = 256,
    SCRATCH_BYTES = 1 << 18,  /* a 100 KB body in one read */
};

struct answer {
    char name[32];
    struct bytes wire;
    int64_t interval_ns;      /* 0: all at once */
    size_t *cuts;             /* offsets at which a piece ends; the last is wire.length */
};

struct connection {
    int fd;
    /* per request */
    char head[HEAD_BYTES + 1];
    size_t head_length;
    size_t body_left;
    bool in_body;
    /* per answer; NULL while a request is being read */
    const struct answer *answer;
    size_t sent;
    size_t cut;               /* index of the piece that may be sent now */
    int64_t due_ns;
    bool blocked;
    int paced_index;          /* position in `paced`, or -1 */
};

static int epoll;
static struct answer answers[MAX_ANSWERS];
static int answer_count;
static struct connection *paced[MAX_CONNECTIONS];
static int paced_count;
static char scratch[SCRATCH_BYTES];
static struct {
    long connections, requests, body_bytes, paced_events;
} stats;

static const char BAD_REQUEST[] = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

static void stop_pacing(struct connection *c)
{
    if (c->paced_index < 0) return;
    paced[c->paced_index] = paced[--paced_count];
    paced[c->paced_index]->paced_index = c->paced_index;
    c->paced_index = -1;
}

/* The memory is freed by the caller's loop, when no event of the same batch can name it any more. */
static void close_connection(struct connection *c)
{
    stop_pacing(c);
    close(c->fd);
    c->fd = -1;
}

static void finish_answer(struct connection *c)
{
    stop_pacing(c);
    c->answer = NULL;
    c->head_length = 0;
    c->in_body = false;
}

static void set_blocked(struct connection *c, bool blocked)
{
    if (c->blocked == blocked) return;
    c->blocked = blocked;
    watch(epoll, EPOLL_CTL_MOD, c->fd, c, blocked);
}

/* Send up to the end of the current piece. */
static void send_answer(struct connection *c)
{
    const struct answer *answer = c->answer;
    size_t limit = answer->cuts[c->cut];
    while (c->sent < limit) {
        ssize_t count = send(c->fd, answer->wire.data + c->sent, limit - c->sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            set_blocked(c, true);
            return;
        }
        if (count < 0) {
            close_connection(c);
            return;
        }
        c->sent += (size_t)count;
    }
    set_blocked(c, false);
    if (c->sent == answer->wire.length) finish_answer(c);
}

static void send_stats(struct connection *c)
{
    char body[256], wire[512];
    int length = snprintf(body, sizeof body,
                          "{\"connections\":%ld,\"requests\":%ld,\"body_bytes\":%ld,\"paced_events\":%ld}",
                          stats.connections, stats.requests, stats.body_bytes, stats.paced_events);
    int total = snprintf(wire, sizeof wire,
                         "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
                         length, body);
    if (send(c->fd, wire, (size_t)total, MSG_NOSIGNAL) != total) close_connection(c);
    else finish_answer(c);
}

static const struct answer *choose_answer(char *head)
{
    size_t line = strcspn(head, "\r");
    char *hint = memmem(head, line, "answer=", 7);
    for (int i = 0; hint != NULL && i < answer_count; i++) {
        size_t length = strlen(answers[i].name);
        if (strncmp(hint + 7, answers[i].name, length) == 0 && strchr(" &", hint[7 + length])) return &answers[i];
    }
    return &answers[0];
}

static void start_answer(struct connection *c)
{
    if (strncmp(c->head, "GET /stats ", 11) == 0) {
        send_stats(c);
        return;
    }
    stats.requests++;
    c->answer = choose_answer(c->head);
    c->sent = 0;
    c->cut = 0;
    if (c->answer->interval_ns > 0) {
        if (paced_count == MAX_CONNECTIONS) {
            close_connection(c);
            return;
        }
        c->due_ns = now_ns() + c->answer->interval_ns;
        c->paced_index = paced_count;
        paced[paced_count++] = c;
        stats.paced_events++;
    }
    send_answer(c);
}

/* Look for the end of the head in what has been read, and learn the length of the body. */
static void read_head(struct connection *c)
{
    c->head[c->head_length] = '\0';
    char *end = memmem(c->head, c->head_length, "\r\n\r\n", 4);
    if (end == NULL && c->head_length < HEAD_BYTES) return;
    if (end != NULL) end[2] = '\0';
    const char *length = end == NULL ? NULL : header_value(c->head, "content-length:");
    size_t body = length == NULL ? 0 : strtoul(length, NULL, 10);
    size_t have = end == NULL ? 0 : c->head_length - (size_t)(end + 4 - c->head);
    if (end == NULL || have > body || (strncmp(c->head, "GET ", 4) != 0 && length == NULL)) {
        send(c->fd, BAD_REQUEST, sizeof BAD_REQUEST - 1, MSG_NOSIGNAL);
        close_connection(c);
        return;
    }
    stats.body_bytes += (long)body;
    c->body_left = body - have;
    c->in_body = true;
    if (c->body_left == 0) start_answer(c);
}

static void on_readable(struct connection *c)
{
    char *target = c->in_body ? scratch : c->head + c->head_length;
    ssize_t count = recv(c->fd, target, c->in_body ? sizeof scratch : HEAD_BYTES - c->head_length, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
        close_connection(c);
    } else if (c->answer != NULL || (c->in_body && (size_t)count > c->body_left)) {
        close_connection(c);  /* a pipelined request: the proxy under test is not one of ours */
    } else if (c->in_body) {
        c->body_left -= (size_t)count;
        if (c->body_left == 0) start_answer(c);
    } else {
        c->head_length += (size_t)count;
        read_head(c);
    }
}

static void accept_connections(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return;
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL) die("out of memory");
        make_nonblocking(fd);
        c->fd = fd;
        c->paced_index = -1;
        stats.connections++;
        watch(epoll, EPOLL_CTL_ADD, fd, c, false);
    }
}

/* Send the pieces that are due. All streams are looked at every millisecond: 1,000 of them cost some 2 µs. */
static void send_due_pieces(void)
{
    int64_t now = now_ns();
    for (int i = paced_count - 1; i >= 0; i--) {
        struct connection *c = paced[i];
        if (now < c->due_ns || c->blocked) continue;
        c->due_ns += c->answer->interval_ns;
        c->cut++;
        stats.paced_events++;
        send_answer(c);
        if (c->fd < 0) free(c);
    }
}

static void load_answer(char *specification)
{
    struct answer *answer = &answers[answer_count++];
    long interval_ms;
    char path[4096];
    if (sscanf(specification, "%31[^:]:%ld:%4095s", answer->name, &interval_ms, path) != 3)
        die("not NAME:INTERVAL_MS:FILE: `%s`", specification);
    answer->interval_ns = interval_ms * 1000000;
    answer->wire = read_file(path);
    answer->cuts = calloc(answer->wire.length / 4 + 2, sizeof *answer->cuts);
    if (answer->cuts == NULL) die("out of memory");
    const char *start = answer->wire.data, *end = start + answer->wire.length;
    size_t cut = 0;
    /* An event is a chunk here, so it ends with its empty line and the chunk's line end. */
    for (const char *at = start; interval_ms > 0 && (at = memmem(at, (size_t)(end - at), "\n\n\r\n", 4)) != NULL;) {
        at += 4;
        answer->cuts[cut++] = (size_t)(at - start);
    }
    /* The last piece takes the terminating chunk with it. */
    answer->cuts[cut > 0 ? cut - 1 : 0] = answer->wire.length;
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0)
        die("cannot listen on port %d: %s", port, strerror(errno));
    return fd;
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 2 + MAX_ANSWERS) die("usage: upstream PORT NAME:INTERVAL_MS:FILE...");
    for (int i = 2; i < argc; i++) load_answer(argv[i]);
    int listener = listen_on(atoi(argv[1]));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, EPOLL_CTL_ADD, listener, NULL, false);
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int count = epoll_wait(epoll, events, MAX_EVENTS, paced_count > 0 ? 1 : -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) {
                accept_connections(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT) send_answer(c);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
            if (c->fd < 0) free(c);
        }
        if (paced_count > 0) send_due_pieces();
    }
}
