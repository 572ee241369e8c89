/* What the load generator and the upstream share: reading files, the clock, sockets on loopback, epoll. */

#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000LL

struct bytes {
    char *data;
    size_t length;
};

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static inline int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * NANOSECONDS + time.tv_nsec;
}

static inline struct bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) die("cannot read `%s`: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    struct bytes content = {.length = (size_t)ftell(file)};
    rewind(file);
    content.data = malloc(content.length + 1);
    if (content.data == NULL) die("out of memory reading `%s`", path);
    if (fread(content.data, 1, content.length, file) != content.length) die("short read of `%s`", path);
    content.data[content.length] = '\0';
    fclose(file);
    return content;
}

static inline struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Without TCP_NODELAY a small second write would wait for the peer's delayed ACK (40 ms). */
static inline void make_nonblocking(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Watch `fd` for input, and for room to write when `writing`; `operation` is EPOLL_CTL_ADD or EPOLL_CTL_MOD. */
static inline void watch(int epoll, int operation, int fd, void *owner, bool writing)
{
    struct epoll_event event = {.events = writing ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = owner};
    if (epoll_ctl(epoll, operation, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

/* The value of header `name` (lower case, with colon) in a head that ends with an empty line, or NULL. */
static inline const char *header_value(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strchr(head, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
        if (strncasecmp(line + 1, name, length) == 0) return line + 1 + length + strspn(line + 1 + length, " ");
    }
    return NULL;
}

#endif
