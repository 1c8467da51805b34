#define _GNU_SOURCE
#include "net.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sip.h"

enum { BATCH = 64, MAX_CONNECTIONS = 64, STREAM_ROOM = 1 << 20, SOCKET_BUFFER = 64 << 20 };

struct udp {
    int fd, count;
    char name[32];
    struct mmsghdr out[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in peers[BATCH];
    char data[BATCH][MAX_MESSAGE];
};

struct connection {
    int fd;
    size_t in_length, out_length, out_room;
    char *in, *out;
};

static struct udp *sockets[MAX_SENDERS + 1];
static struct connection connections[MAX_CONNECTIONS];
static int listener = -1;

struct sockaddr_in net_address(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host) errx(2, "not HOST:PORT: %s", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (!inet_aton(host, &address.sin_addr)) errx(2, "not an IPv4 address: %s", host);
    if ((ntohl(address.sin_addr.s_addr) >> 24) != 127) errx(2, "%s: this load stays on loopback", host);
    return address;
}

static struct udp *udp_open(struct sockaddr_in address) {
    struct udp *udp = calloc(1, sizeof *udp);
    int size = SOCKET_BUFFER;
    socklen_t length = sizeof address;
    udp->fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (setsockopt(udp->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(udp->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(udp->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
        setsockopt(udp->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (bind(udp->fd, (struct sockaddr *)&address, sizeof address)) err(2, "bind");
    getsockname(udp->fd, (struct sockaddr *)&address, &length);
    snprintf(udp->name, sizeof udp->name, "%s:%d", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
    return udp;
}

static void tcp_listen(struct sockaddr_in address) {
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) err(2, "listen");
}

void net_open(int senders, struct sockaddr_in proxy) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = proxy.sin_addr};
    for (int i = 0; i < senders; i++) sockets[i] = udp_open(any);
    sockets[PROXY] = udp_open(proxy);
    tcp_listen(proxy);
}

const char *net_name(int sender) { return sockets[sender]->name; }

static void udp_flush(struct udp *udp) {
    for (int sent = 0; sent < udp->count;) {
        int now = sendmmsg(udp->fd, udp->out + sent, (unsigned)(udp->count - sent), 0);
        if (now < 0 && errno == EINTR) continue;
        sent += now < 0 ? 1 : now; /* a refused datagram counts as lost, and the client timers retransmit it */
    }
    udp->count = 0;
}

char *net_room(const struct path *path) {
    if (path->socket < FIRST_CONNECTION) {
        struct udp *udp = sockets[path->socket];
        if (udp->count == BATCH) udp_flush(udp);
        return udp->data[udp->count];
    }
    struct connection *c = &connections[path->socket - FIRST_CONNECTION];
    if (c->out_room - c->out_length < MAX_MESSAGE) c->out = realloc(c->out, c->out_room += STREAM_ROOM);
    return c->out + c->out_length;
}

void net_send(const struct path *path, size_t length) {
    if (path->socket >= FIRST_CONNECTION) {
        connections[path->socket - FIRST_CONNECTION].out_length += length;
        return;
    }
    struct udp *udp = sockets[path->socket];
    int i = udp->count++;
    udp->peers[i] = path->peer;
    udp->vectors[i] = (struct iovec){udp->data[i], length};
    udp->out[i].msg_hdr = (struct msghdr){
        .msg_name = &udp->peers[i], .msg_namelen = sizeof udp->peers[i], .msg_iov = &udp->vectors[i], .msg_iovlen = 1};
}

static void connection_flush(struct connection *c) {
    size_t sent = 0;
    while (sent < c->out_length) {
        ssize_t now = send(c->fd, c->out + sent, c->out_length - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (now <= 0) break;
        sent += (size_t)now;
    }
    memmove(c->out, c->out + sent, c->out_length - sent);
    c->out_length -= sent;
}

void net_flush(void) {
    for (int i = 0; i <= PROXY; i++)
        if (sockets[i] && sockets[i]->count) udp_flush(sockets[i]);
    for (int i = 0; i < MAX_CONNECTIONS; i++)
        if (connections[i].out_length) connection_flush(&connections[i]);
}

static void udp_receive(int socket, net_receiver *receiver) {
    static char data[BATCH][MAX_MESSAGE];
    static struct path paths[BATCH];
    static struct iovec vectors[BATCH];
    static struct mmsghdr in[BATCH];
    int count = BATCH;
    for (int round = 0; count == BATCH && round < 4; round++) {
        for (int i = 0; i < BATCH; i++) {
            paths[i].socket = socket;
            vectors[i] = (struct iovec){data[i], MAX_MESSAGE};
            in[i].msg_hdr = (struct msghdr){.msg_name = &paths[i].peer, .msg_namelen = sizeof paths[i].peer,
                                            .msg_iov = &vectors[i], .msg_iovlen = 1};
        }
        count = recvmmsg(sockets[socket]->fd, in, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++) receiver(data[i], in[i].msg_len, &paths[i]);
    }
}

static void connection_accept(void) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        if (connections[i].in) continue;
        connections[i] = (struct connection){.fd = fd, .in = malloc(STREAM_ROOM)};
        return;
    }
    close(fd);
}

static void connection_receive(int index, net_receiver *receiver) {
    struct connection *c = &connections[index];
    struct path path = {.socket = FIRST_CONNECTION + index};
    ssize_t count = recv(c->fd, c->in + c->in_length, STREAM_ROOM - c->in_length, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN)) {
        close(c->fd);
        free(c->in);
        free(c->out);
        *c = (struct connection){0};
        return;
    }
    if (count > 0) c->in_length += (size_t)count;
    size_t used = 0;
    for (;;) {
        while (used < c->in_length && (c->in[used] == '\r' || c->in[used] == '\n')) used++; /* keep-alives */
        size_t length = sip_frame(c->in + used, c->in_length - used);
        if (!length) break;
        receiver(c->in + used, length, &path);
        used += length;
    }
    memmove(c->in, c->in + used, c->in_length - used);
    c->in_length -= used;
}

void net_poll(uint64_t ns, net_receiver *receiver) {
    struct pollfd fds[MAX_SENDERS + 2 + MAX_CONNECTIONS];
    int owners[MAX_SENDERS + 2 + MAX_CONNECTIONS];
    nfds_t count = 0;
    for (int i = 0; i <= PROXY; i++)
        if (sockets[i]) fds[count] = (struct pollfd){sockets[i]->fd, POLLIN, 0}, owners[count++] = i;
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        if (!connections[i].in) continue;
        short events = POLLIN | (connections[i].out_length ? POLLOUT : 0);
        fds[count] = (struct pollfd){connections[i].fd, events, 0}, owners[count++] = FIRST_CONNECTION + i;
    }
    fds[count] = (struct pollfd){listener, POLLIN, 0}, owners[count++] = -1;
    struct timespec wait = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    if (ppoll(fds, count, &wait, NULL) <= 0) return;
    for (nfds_t i = 0; i < count; i++) {
        if (!(fds[i].revents & (POLLIN | POLLHUP | POLLERR))) continue;
        if (owners[i] < 0) connection_accept();
        else if (owners[i] >= FIRST_CONNECTION) connection_receive(owners[i] - FIRST_CONNECTION, receiver);
        else udp_receive(owners[i], receiver);
    }
}
