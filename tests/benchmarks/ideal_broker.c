/* A broker that does nothing but what a benchmark of a client needs, as fast as it can.
 *
 *     cc -O2 -o ideal_broker ideal_broker.c && ./ideal_broker CPU
 *
 * It prints two ports, of MQTT (3.1.1 and 5.0) and of the control connection, and runs until its
 * standard input is closed. It believes its clients: what they send is counted and acknowledged,
 * not validated. On the control connection (answers in brackets):
 *
 *     s MODE COUNT QOS SIZE WINDOW TOPICS TOPIC\n   a new scenario [s]
 *     g        begin to send, to the client that has subscribed last
 *     x        close all connections of MQTT, and all new ones at once, until:
 *     o        open again
 *     r        report the counts [one line of JSON]
 *     [d]      sent once, when everything has been counted
 *
 * MODE is "publish" (count what comes), "receive" (send COUNT messages, with no more than WINDOW
 * unacknowledged) or "echo" (send back what comes). With TOPICS, the messages go to so many
 * topics in turn: bench/00000/name, bench/00001/name ...
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20 }; /* file descriptors */
enum { READ = 256 * 1024, SMALL = 64 * 1024, BIG = 4 * 1024 * 1024, COPIED = 16 * 1024, EVENTS = 256 };
enum { MQTT_LISTENER, CONTROL_LISTENER, MQTT, CONTROL, STDIN };

typedef struct {
    int fd, kind, version, sub_qos, waits_for_room;
    unsigned receive_maximum;
    unsigned char *rest; /* the beginning of a packet that has not come in full */
    size_t rest_size;
    size_t skip; /* bytes of a big PUBLISH which are still to come, and are not looked at */
    int skip_qos, skip_dup;
    unsigned skip_id;
    unsigned char *out; /* to be sent; out_done of it has been */
    size_t out_size, out_done, out_room;
    const unsigned char *direct; /* to be sent before it, without being copied */
    size_t direct_size;
} Conn;

static struct {
    char mode, topic[256];
    long long count;
    int qos, window, topics, going, done, version, is_shut;
    size_t size;
    long long publishes, flows, sent, acks, duplicates, bytes, connects, refused;
    int in_flight;
    unsigned next_id;
    unsigned char used[65536];
    Conn *subscriber, *control;
    unsigned char *block; /* packets to send, all of the same size */
    size_t packet_size, packets, id_at;
    long long cpu, wall; /* ns, from the first message on */
} S;

static int epoll_fd;
static Conn *conns[MOST]; /* by file descriptor */
static unsigned char buffer[READ + BIG];

static long long now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void start_clocks(void) {
    S.cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    S.wall = now(CLOCK_MONOTONIC);
}

/* --- sending */

static unsigned char *reserve(Conn *c, size_t size) {
    if (c->out_done == c->out_size) c->out_done = c->out_size = 0;
    if (c->out_size + size > c->out_room) {
        c->out_room = (c->out_size + size) * 2;
        if (!(c->out = realloc(c->out, c->out_room))) die("realloc");
    }
    unsigned char *place = c->out + c->out_size;
    c->out_size += size;
    return place;
}

static void put(Conn *c, const void *data, size_t size) { memcpy(reserve(c, size), data, size); }

static void put_ack(Conn *c, int head, unsigned id) {
    unsigned char *p = reserve(c, 4);
    p[0] = head, p[1] = 2, p[2] = id >> 8, p[3] = id;
}

static size_t put_length(unsigned char *at, size_t value) {
    size_t n = 0;
    do {
        at[n] = value & 127;
        value >>= 7;
        if (value) at[n] |= 128;
        n++;
    } while (value);
    return n;
}

static void watch(Conn *c, int waits_for_room) {
    if (c->waits_for_room == waits_for_room) return;
    c->waits_for_room = waits_for_room;
    struct epoll_event e = {EPOLLIN | (waits_for_room ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void finish(void) {
    if (S.done) return;
    S.done = 1;
    S.cpu = now(CLOCK_PROCESS_CPUTIME_ID) - S.cpu;
    S.wall = now(CLOCK_MONOTONIC) - S.wall;
    if (S.control && send(S.control->fd, "d", 1, MSG_NOSIGNAL) != 1) perror("control");
}

/* The packets that "receive" sends, in the version of the client that gets them. */
static void make_block(int version) {
    char topic[300];
    size_t topic_size = S.topics ? strlen("bench/00000/name") : strlen(S.topic);
    size_t body = 2 + topic_size + (S.qos ? 2 : 0) + (version == 5) + S.size;
    unsigned char length[4];
    size_t length_size = put_length(length, body);
    size_t turn = S.topics ? S.topics : 1;
    S.packet_size = 1 + length_size + body;
    S.packets = S.qos && !S.topics ? 1 : (READ / S.packet_size / turn + 1) * turn;
    S.id_at = 1 + length_size + 2 + topic_size;
    free(S.block);
    if (!(S.block = malloc(S.packets * S.packet_size))) die("malloc");
    for (size_t n = 0; n < S.packets; n++) {
        unsigned char *p = S.block + n * S.packet_size;
        *p++ = 0x30 | S.qos << 1;
        memcpy(p, length, length_size), p += length_size;
        *p++ = topic_size >> 8, *p++ = topic_size;
        if (S.topics) snprintf(topic, sizeof topic, "bench/%05d/name", (int)(n % turn));
        memcpy(p, S.topics ? topic : S.topic, topic_size), p += topic_size;
        if (S.qos) p += 2;
        if (version == 5) *p++ = 0;
        memset(p, 'x', S.size);
    }
}

static unsigned take_id(void) {
    do S.next_id = S.next_id % 65535 + 1;
    while (S.used[S.next_id]);
    S.used[S.next_id] = 1;
    return S.next_id;
}

/* Have the next messages sent, if there are any; returns whether there is something to send. */
static int fill(Conn *c) {
    if (c != S.subscriber || !S.going || S.mode != 'r') return 0;
    if (!S.qos) {
        long long place = S.sent % S.packets, n = S.packets - place;
        if (n > S.count - S.sent) n = S.count - S.sent;
        c->direct = S.block + place * S.packet_size;
        c->direct_size = n * S.packet_size;
        S.sent += n;
        if (!n) finish();
        return n > 0;
    }
    int window = S.window < (int)c->receive_maximum ? S.window : (int)c->receive_maximum;
    int some = 0;
    while (S.in_flight < window && S.sent < S.count) {
        unsigned char *packet = S.block + S.sent % S.packets * S.packet_size;
        unsigned id = take_id();
        packet[S.id_at] = id >> 8, packet[S.id_at + 1] = id;
        S.in_flight++, S.sent++, some = 1;
        if (S.packet_size > COPIED) {
            c->direct = packet, c->direct_size = S.packet_size;
            return 1;
        }
        put(c, packet, S.packet_size);
    }
    return some;
}

/* Send what there is, as far as there is room; returns 0 if the connection is gone. */
static int pump(Conn *c) {
    for (;;) {
        const unsigned char *data = c->direct_size ? c->direct : c->out + c->out_done;
        size_t size = c->direct_size ? c->direct_size : c->out_size - c->out_done;
        if (!size) {
            if (fill(c)) continue;
            watch(c, 0);
            return 1;
        }
        ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) return 0;
        if (n > 0 && c->direct_size) c->direct += n, c->direct_size -= n;
        else if (n > 0) c->out_done += n;
        if (n < (ssize_t)size) {
            watch(c, 1);
            return 1;
        }
    }
}

/* --- receiving */

static void published(Conn *c, int qos, unsigned id, int duplicate) {
    S.duplicates += duplicate;
    S.publishes += !duplicate;
    if (qos == 1) put_ack(c, 0x40, id);
    if (qos == 2) put_ack(c, 0x50, id);
    if (qos < 2) S.flows += !duplicate;
    if (S.flows == S.count && S.mode == 'p') finish();
}

static void echo(Conn *c, int qos, const unsigned char *topic, size_t topic_size,
                 const unsigned char *payload, size_t payload_size) {
    if (qos > c->sub_qos) qos = c->sub_qos;
    unsigned char head[5] = {0x30 | qos << 1};
    size_t head_size =
        1 + put_length(head + 1, topic_size + (qos ? 2 : 0) + (c->version == 5) + payload_size);
    put(c, head, head_size);
    put(c, topic, topic_size);
    if (qos) {
        unsigned id = take_id();
        unsigned char *p = reserve(c, 2);
        p[0] = id >> 8, p[1] = id;
    }
    if (c->version == 5) *reserve(c, 1) = 0;
    put(c, payload, payload_size);
}

static size_t get_length(const unsigned char *p, const unsigned char *end, size_t *value) {
    *value = 0;
    for (size_t n = 0; n < 4 && p + n < end; n++) {
        *value |= (size_t)(p[n] & 127) << 7 * n;
        if (!(p[n] & 128)) return n + 1;
    }
    return 0;
}

/* PUBLISH: size bytes of it are there, of total. Returns 0 if that is not enough to begin with. */
static int on_publish(Conn *c, const unsigned char *p, size_t head, size_t size, size_t total) {
    int qos = p[0] >> 1 & 3, duplicate = p[0] >> 3 & 1;
    if (size < head + 2) return 0;
    size_t topic_size = 2 + (p[head] << 8 | p[head + 1]);
    size_t at = head + topic_size + (qos ? 2 : 0), properties = 0;
    if (size < at + (c->version == 5 ? 4 : 0) && size < total) return 0;
    unsigned id = qos ? p[at - 2] << 8 | p[at - 1] : 0;
    if (c->version == 5) at += get_length(p + at, p + size, &properties) + properties;
    if (!S.publishes) start_clocks();
    S.bytes += total - at;
    if (size < total) {
        c->skip = total - size, c->skip_qos = qos, c->skip_dup = duplicate, c->skip_id = id;
        return 1;
    }
    published(c, qos, id, duplicate);
    if (S.mode == 'e') echo(c, qos, p + head, topic_size, p + at, total - at);
    return 1;
}

static void on_connect(Conn *c, const unsigned char *p) {
    static unsigned number;
    /* Whoever has been here before has a session, if it does not want a new one. */
    unsigned char present = S.connects && !(p[7] & 2), *answer;
    c->version = S.version = p[6];
    c->receive_maximum = 65535;
    p += 10;
    if (c->version == 5) {
        size_t size;
        p += get_length(p, p + 4, &size);
        for (const unsigned char *end = p + size; p < end;) {
            switch (*p++) {
            case 0x21: c->receive_maximum = p[0] << 8 | p[1]; /* fall through */
            case 0x22: p += 2; break;
            case 0x17: case 0x19: p += 1; break;
            case 0x26: p += 2 + (p[0] << 8 | p[1]); /* fall through */
            case 0x15: case 0x16: p += 2 + (p[0] << 8 | p[1]); break;
            default: p += 4;
            }
        }
    }
    S.connects++;
    if (c->version < 5) {
        memcpy(answer = reserve(c, 4), "\x20\x02\0\0", 4);
    } else if (p[0] || p[1]) { /* 0x29: no subscription identifiers */
        memcpy(answer = reserve(c, 7), "\x20\x05\0\0\x02\x29\0", 7);
    } else { /* 0x12: the client's name, as it has none */
        number++;
        memcpy(answer = reserve(c, 18), "\x20\x10\0\0\x0d\x29\0\x12\0\x08", 10);
        for (int n = 0; n < 8; n++) answer[10 + n] = 'a' + (number >> n * 4 & 15);
    }
    answer[2] = present;
}

static void on_subscribe(Conn *c, const unsigned char *p, const unsigned char *end, int codes_of) {
    const unsigned char *id = p;
    unsigned char codes[READ / 4];
    size_t properties, n = 0;
    p += 2;
    if (c->version == 5) p += get_length(p, end, &properties), p += properties;
    while (p < end && n < sizeof codes) {
        p += 2 + (p[0] << 8 | p[1]);
        codes[n++] = codes_of == 0x90 ? c->sub_qos = *p++ & 3 : 0;
    }
    if (codes_of == 0xb0 && c->version < 5) n = 0;
    unsigned char head[5] = {codes_of};
    put(c, head, 1 + put_length(head + 1, 2 + (c->version == 5) + n));
    put(c, id, 2);
    if (c->version == 5) *reserve(c, 1) = 0;
    put(c, codes, n);
    if (codes_of == 0x90) S.subscriber = c;
}

static void on_acknowledged(const unsigned char *p) {
    unsigned id = p[0] << 8 | p[1];
    if (!S.used[id]) return;
    S.used[id] = 0;
    S.acks++;
    if (S.mode != 'r') return;
    S.in_flight--;
    if (S.acks == S.count) finish();
}

/* A complete packet that is no PUBLISH. Returns 0 if the connection is to be closed. */
static int on_packet(Conn *c, int type, const unsigned char *p, const unsigned char *end) {
    unsigned id = end - p >= 2 ? p[0] << 8 | p[1] : 0;
    int refused = end - p > 2 && p[2] >= 0x80;
    switch (type) {
    case 1: on_connect(c, p); return 1;
    case 4: S.refused += refused, on_acknowledged(p); return 1;
    case 5:
        S.refused += refused;
        if (refused) on_acknowledged(p);
        else put_ack(c, 0x62, id);
        return 1;
    case 6:
        put_ack(c, 0x70, id);
        S.flows++;
        if (S.flows == S.count && S.mode == 'p') finish();
        return 1;
    case 7: on_acknowledged(p); return 1;
    case 8: on_subscribe(c, p, end, 0x90); return 1;
    case 10: on_subscribe(c, p, end, 0xb0); return 1;
    case 12: put(c, "\xd0\0", 2); return 1;
    default: return 0; /* DISCONNECT, or nonsense */
    }
}

static void keep(Conn *c, const unsigned char *p, size_t size) {
    free(c->rest);
    c->rest = NULL;
    c->rest_size = size;
    if (!size) return;
    if (!(c->rest = malloc(size))) die("malloc");
    memcpy(c->rest, p, size);
}

static int on_mqtt(Conn *c) {
    if (c->skip) { /* the kernel throws these bytes away without copying them */
        ssize_t n = recv(c->fd, NULL, c->skip, MSG_TRUNC | MSG_DONTWAIT);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        if (!(c->skip -= n)) published(c, c->skip_qos, c->skip_id, c->skip_dup);
        return pump(c);
    }
    memcpy(buffer, c->rest, c->rest_size);
    ssize_t n = recv(c->fd, buffer + c->rest_size, READ, MSG_DONTWAIT);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    const unsigned char *p = buffer, *end = buffer + c->rest_size + n;
    while (p < end) {
        size_t body, head = 1 + get_length(p + 1, end, &body), size = end - p, total = head + body;
        if (head == 1) break;
        if (size >= total) {
            if (*p >> 4 == 3) on_publish(c, p, head, total, total);
            else if (!on_packet(c, *p >> 4, p + head, p + total)) return 0;
            p += total;
        } else {
            int skippable = total > SMALL && *p >> 4 == 3 && S.mode != 'e';
            if (skippable && on_publish(c, p, head, size, total)) p = end;
            break;
        }
    }
    if (end - p > BIG) return 0;
    keep(c, p, end - p);
    return pump(c);
}

static int on_control(Conn *c) {
    char line[1024];
    ssize_t n = recv(c->fd, line, sizeof line - 1, MSG_DONTWAIT);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    line[n] = 0;
    for (char *p = line; *p; p++) {
        if (*p == 's') {
            char mode[16];
            unsigned char *block = S.block;
            memset(&S, 0, sizeof S);
            S.block = block;
            if (sscanf(p, "s %15s %lld %d %zu %d %d %255s", mode, &S.count, &S.qos, &S.size,
                       &S.window, &S.topics, S.topic) != 7)
                return 0;
            S.mode = mode[0];
            S.control = c;
            start_clocks();
            put(c, "s", 1);
            p = strchr(p, '\n');
            if (!p) return 0;
        } else if (*p == 'g' && S.subscriber) {
            make_block(S.subscriber->version);
            S.going = 1;
            start_clocks();
            if (!pump(S.subscriber)) return 0;
        } else if (*p == 'x') {
            S.is_shut = 1;
            for (int fd = 0; fd < MOST; fd++)
                if (conns[fd] && conns[fd]->kind == MQTT) shutdown(fd, SHUT_RDWR);
        } else if (*p == 'o') {
            S.is_shut = 0;
        } else if (*p == 'r') {
            long long cpu = S.cpu, wall = S.wall;
            if (!S.done) {
                cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
                wall = now(CLOCK_MONOTONIC) - wall;
            }
            char report[512];
            int size = snprintf(
                report, sizeof report,
                "{\"publishes\": %lld, \"flows\": %lld, \"bytes\": %lld, \"duplicates\": %lld, "
                "\"sent\": %lld, \"acks\": %lld, \"refused\": %lld, \"connects\": %lld, "
                "\"version\": %d, \"cpu\": %lld, \"wall\": %lld}\n",
                S.publishes, S.flows, S.bytes, S.duplicates, S.sent, S.acks, S.refused,
                S.connects, S.version, cpu, wall);
            put(c, report, size);
        }
    }
    return pump(c);
}

/* --- connections */

static void add(int fd, int kind) {
    Conn *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    c->fd = fd, c->kind = kind;
    conns[fd] = c;
    struct epoll_event e = {EPOLLIN, {.ptr = c}};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

static void drop(Conn *c) {
    if (S.subscriber == c) S.subscriber = NULL;
    if (S.control == c) S.control = NULL;
    conns[c->fd] = NULL;
    close(c->fd);
    free(c->rest);
    free(c->out);
    free(c);
}

static int listen_on_loopback(int kind) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096)) die("listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    add(fd, kind);
    return ntohs(address.sin_port);
}

static void accept_all(Conn *listener) {
    int fd, one = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (listener->kind == MQTT_LISTENER && S.is_shut) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        add(fd, listener->kind == MQTT_LISTENER ? MQTT : CONTROL);
    }
}

int main(int argc, char **argv) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
    if (argc > 1 && sched_setaffinity(0, sizeof cpus, &cpus)) die("sched_setaffinity");
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(0);
    int port = listen_on_loopback(MQTT_LISTENER), control = listen_on_loopback(CONTROL_LISTENER);
    printf("%d %d\n", port, control);
    fflush(stdout);
    add(0, STDIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            int alive = 1;
            if (c->kind == STDIN) return 0;
            if (c->kind == MQTT_LISTENER || c->kind == CONTROL_LISTENER) accept_all(c);
            else if (c->kind == CONTROL) alive = on_control(c);
            else if (events[i].events & EPOLLOUT && !pump(c)) alive = 0;
            else if (events[i].events & ~EPOLLOUT) alive = on_mqtt(c);
            if (!alive) drop(c);
        }
    }
}
