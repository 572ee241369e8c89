/* A load generator that checks every byte of every answer and costs far less CPU than the proxy it loads.
 *
 *   load closed PORT CONNECTIONS SECONDS REQUEST EXPECTED        each connection asks again once it is answered
 *   load open   PORT CONNECTIONS SECONDS REQUEST EXPECTED RATE   RATE requests a second, whatever the answers do
 *   load hold   PORT CONNECTIONS SECONDS REQUEST EXPECTED        one request a connection, all open at once
 *
 * REQUEST is a file with the bytes of a whole request, EXPECTED one with the decoded body of its answer. Prints one
 * line of JSON at the end; `hold` first prints `open` when every stream has begun, and SECONDS is its time limit.
 * In `open`, latency counts from the moment a request was due, not from when it was sent, so that a stall is not
 * hidden by the requests it held back (coordinated omission).
 */

#include "wire.h"

#include <sys/timerfd.h>

enum {
    HEAD_BYTES = 16384,
    MAX_EVENTS = 256,
    MAX_OPENING = 64,          /* streams opened but not yet answered: a burst of all would overflow a backlog */
    MAX_ERRORS = 100,          /* then give up: the figures are worthless anyway */
    MAX_WAITING = 65536,       /* requests due without a free connection */
    SCRATCH_BYTES = 1 << 18,
    BUCKETS = 1 << 20,         /* of one microsecond: latencies up to a second */
    GRACE_SECONDS = 10,        /* for answers still coming when the time is over */
};

enum mode { CLOSED, OPEN, HOLD };
enum framing { HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, LAST_END, DONE };

struct connection {
    int fd;
    bool busy, closing, begun;
    /* per request */
    size_t sent;
    int64_t start_ns;
    /* per answer */
    enum framing framing;
    char head[HEAD_BYTES + 1];
    size_t head_length;
    size_t left;               /* bytes of the body or of the chunk; while in CHUNK_SIZE, the size read so far */
    size_t received;           /* decoded bytes of the body */
};

static int port, epoll;
static enum mode mode;
static struct bytes request, expected;
static int *events_before;     /* events that end before each offset of `expected` */
static struct connection *connections;
static int connection_count, opening, begun;
static int64_t started_ns, end_ns;
static int64_t waiting[MAX_WAITING];
static long waiting_head, waiting_tail;
static char scratch[SCRATCH_BYTES];
static uint32_t buckets[BUCKETS];
static struct {
    long sent, answered, events, body_bytes, errors, reconnects;
    const char *first_error;
} stats;

static void open_connection(struct connection *c)
{
    struct sockaddr_in address = loopback(port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("cannot connect to port %d: %s", port, strerror(errno));
    make_nonblocking(c->fd);
    c->busy = c->closing = false;
    watch(epoll, EPOLL_CTL_ADD, c->fd, c, false);
}

static void reopen(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    c->busy = false;
    if (mode == HOLD) return;
    stats.reconnects++;
    open_connection(c);
}

static void fail(struct connection *c, const char *reason)
{
    if (stats.errors++ == 0) stats.first_error = reason;
    if (!c->begun && mode == HOLD) opening--;
    reopen(c);
}

static void send_request(struct connection *c)
{
    bool was_blocked = c->sent > 0;
    while (c->sent < request.length) {
        ssize_t count = send(c->fd, request.data + c->sent, request.length - c->sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            watch(epoll, EPOLL_CTL_MOD, c->fd, c, true);
            return;
        }
        if (count < 0) {
            fail(c, "the connection broke while a request was sent");
            return;
        }
        c->sent += (size_t)count;
    }
    if (was_blocked) watch(epoll, EPOLL_CTL_MOD, c->fd, c, false);
}

static void start_request(struct connection *c, int64_t start_ns)
{
    c->busy = true;
    c->begun = false;
    c->sent = 0;
    c->start_ns = start_ns;
    c->framing = HEAD;
    c->head_length = 0;
    c->received = 0;
    stats.sent++;
    send_request(c);
}

static void finish_answer(struct connection *c)
{
    if (c->received != expected.length) {
        fail(c, "an answer ended early");
        return;
    }
    int64_t now = now_ns(), microseconds = (now - c->start_ns) / 1000;
    buckets[microseconds < BUCKETS ? microseconds : BUCKETS - 1]++;
    stats.answered++;
    c->busy = false;
    if (c->closing || mode == HOLD) reopen(c);
    if (mode == CLOSED && now < end_ns) start_request(c, now);
    if (mode == OPEN && waiting_head < waiting_tail) start_request(c, waiting[waiting_head++ % MAX_WAITING]);
}

/* Compare a piece of the body with what was to come at its place. */
static bool take_body(struct connection *c, const char *data, size_t length)
{
    if (length > expected.length - c->received || memcmp(data, expected.data + c->received, length) != 0) return false;
    stats.events += events_before[c->received + length] - events_before[c->received];
    stats.body_bytes += (long)length;
    c->received += length;
    return true;
}

/* Read the head; returns the number of bytes of `data` it took, or -1 when the answer is not a good one. */
static ssize_t take_head(struct connection *c, const char *data, size_t length)
{
    size_t before = c->head_length, room = HEAD_BYTES - before;
    size_t copied = length < room ? length : room;
    memcpy(c->head + before, data, copied);
    c->head_length += copied;
    char *end = memmem(c->head, c->head_length, "\r\n\r\n", 4);
    if (end == NULL) return copied == length ? (ssize_t)length : -1;
    end[2] = '\0';
    const char *size = header_value(c->head, "content-length:");
    const char *connection = header_value(c->head, "connection:");
    bool chunked = header_value(c->head, "transfer-encoding:") != NULL;
    c->closing = connection != NULL && strncasecmp(connection, "close", 5) == 0;
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || (size == NULL && !chunked)) return -1;
    c->left = chunked ? 0 : strtoul(size, NULL, 10);
    c->framing = chunked ? CHUNK_SIZE : BODY;
    return end + 4 - c->head - (ssize_t)before;
}

/* One character of a chunk's framing; trailers and extensions are not expected. Returns false on nonsense. */
static bool take_framing(struct connection *c, char character)
{
    if (character == '\r') return true;
    if (c->framing != CHUNK_SIZE) {
        c->framing = c->framing == LAST_END ? DONE : CHUNK_SIZE;
        c->left = 0;
        return character == '\n';
    }
    if (character == '\n') {
        c->framing = c->left == 0 ? LAST_END : CHUNK_DATA;
        return true;
    }
    int digit = character >= '0' && character <= '9'   ? character - '0'
                : character >= 'a' && character <= 'f' ? character - 'a' + 10
                : character >= 'A' && character <= 'F' ? character - 'A' + 10
                                                       : -1;
    c->left = c->left * 16 + (size_t)digit;
    return digit >= 0;
}

/* Decode what was read; returns NULL, or what is wrong with it. */
static const char *take(struct connection *c, const char *data, size_t length)
{
    const char *end = data + length;
    while (data < end) {
        size_t available = (size_t)(end - data);
        if (c->framing == DONE) return "bytes after the end of an answer";
        if (c->framing == HEAD) {
            ssize_t used = take_head(c, data, available);
            if (used < 0) return "a status other than 200, or an unreadable head";
            data += used;
        } else if (c->framing == BODY || c->framing == CHUNK_DATA) {
            size_t piece = available < c->left ? available : c->left;
            if (!take_body(c, data, piece)) return "an answer with other bytes than expected";
            data += piece;
            c->left -= piece;
            if (c->left == 0) c->framing = c->framing == BODY ? DONE : CHUNK_END;
        } else if (!take_framing(c, *data++)) {
            return "a malformed chunk";
        }
    }
    return NULL;
}

static void on_readable(struct connection *c)
{
    ssize_t count = recv(c->fd, scratch, sizeof scratch, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (!c->busy) {
        reopen(c);  /* an idle connection that the proxy closed, as it may */
        return;
    }
    const char *trouble = count <= 0 ? "the connection broke during an answer" : take(c, scratch, (size_t)count);
    if (trouble != NULL) {
        fail(c, trouble);
        return;
    }
    if (!c->begun && c->received > 0) {
        c->begun = true;
        begun++;
        opening--;
        if (mode == HOLD && begun == connection_count) {
            puts("open");
            fflush(stdout);
        }
    }
    if (c->framing == DONE) finish_answer(c);
}

static void open_more_streams(void)
{
    static int opened;
    for (; opened < connection_count && opening < MAX_OPENING; opened++) {
        opening++;
        open_connection(&connections[opened]);
        start_request(&connections[opened], now_ns());
    }
}

static void start_due_request(int64_t due_ns)
{
    for (int i = 0; i < connection_count; i++) {
        if (connections[i].busy) continue;
        start_request(&connections[i], due_ns);
        return;
    }
    if (waiting_tail - waiting_head == MAX_WAITING) die("too many requests wait for a connection");
    waiting[waiting_tail++ % MAX_WAITING] = due_ns;
}

/* Start what is due and set the alarm for the next; the alarm's file descriptor is the only one without an owner. */
static void on_alarm(int alarm, int64_t interval_ns)
{
    static long started;
    int64_t due_ns;
    while ((due_ns = started_ns + ++started * interval_ns) <= now_ns() && due_ns < end_ns) start_due_request(due_ns);
    started--;
    struct itimerspec next = {.it_value = {due_ns / NANOSECONDS, due_ns % NANOSECONDS}};
    if (due_ns < end_ns) timerfd_settime(alarm, TFD_TIMER_ABSTIME, &next, NULL);
    else epoll_ctl(epoll, EPOLL_CTL_DEL, alarm, NULL);
}

static bool finished(void)
{
    int64_t now = now_ns();
    if (stats.errors >= MAX_ERRORS) return true;
    if (mode == HOLD) return now >= end_ns || stats.answered + stats.errors == connection_count;
    if (now < end_ns) return false;
    bool idle = stats.answered + stats.errors >= stats.sent && waiting_head == waiting_tail;
    return idle || now >= end_ns + GRACE_SECONDS * NANOSECONDS;
}

static void run(int alarm, int64_t interval_ns)
{
    while (!finished()) {
        struct epoll_event events[MAX_EVENTS];
        int count = epoll_wait(epoll, events, MAX_EVENTS, 10);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) {
                on_alarm(alarm, interval_ns);
                continue;
            }
            int fd = c->fd;
            if (events[i].events & EPOLLOUT) send_request(c);
            if (c->fd == fd && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
        }
        if (mode == HOLD) open_more_streams();
    }
}

/* The latency in microseconds below which `share` of the answers came. */
static long percentile(double share)
{
    long seen = 0, wanted = (long)(share * (double)stats.answered);
    for (long i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen > wanted) return i;
    }
    return BUCKETS;
}

static void report(void)
{
    long unfinished = stats.sent - stats.answered - stats.errors;
    if (unfinished > 0 && stats.errors == 0) stats.first_error = "an answer did not come in time";
    stats.errors += unfinished > 0 ? unfinished : 0;
    printf("{\"requests\":%ld,\"events\":%ld,\"body_bytes\":%ld,\"errors\":%ld,\"first_error\":\"%s\",",
           stats.answered, stats.events, stats.body_bytes, stats.errors,
           stats.first_error == NULL ? "" : stats.first_error);
    printf("\"reconnects\":%ld,\"seconds\":%.3f,\"p50_us\":%ld,\"p90_us\":%ld,\"p99_us\":%ld}\n",
           stats.reconnects, (double)(now_ns() - started_ns) / 1e9, percentile(0.5), percentile(0.9),
           percentile(0.99));
}

static void count_expected_events(void)
{
    events_before = calloc(expected.length + 2, sizeof *events_before);
    if (events_before == NULL) die("out of memory");
    for (size_t i = 2; i <= expected.length; i++)
        events_before[i] = events_before[i - 1] + (expected.data[i - 1] == '\n' && expected.data[i - 2] == '\n');
}

int main(int argc, char **argv)
{
    if (argc < 7) die("usage: load closed|open|hold PORT CONNECTIONS SECONDS REQUEST EXPECTED [RATE]");
    mode = argv[1][0] == 'c' ? CLOSED : argv[1][0] == 'o' ? OPEN : HOLD;
    port = atoi(argv[2]);
    connection_count = atoi(argv[3]);
    request = read_file(argv[5]);
    expected = read_file(argv[6]);
    int rate = argc > 7 ? atoi(argv[7]) : 1;
    count_expected_events();
    connections = calloc((size_t)connection_count, sizeof *connections);
    if (connections == NULL || rate < 1) die("no memory, or no rate");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    for (int i = 0; mode != HOLD && i < connection_count; i++) open_connection(&connections[i]);
    started_ns = now_ns();
    end_ns = started_ns + (int64_t)(atof(argv[4]) * 1e9);
    for (int i = 0; mode == CLOSED && i < connection_count; i++) start_request(&connections[i], now_ns());
    if (mode == OPEN) {
        watch(epoll, EPOLL_CTL_ADD, alarm, NULL, false);
        on_alarm(alarm, NANOSECONDS / rate);
    }
    if (mode == HOLD) open_more_streams();
    run(alarm, NANOSECONDS / rate);
    report();
    return 0;
}
