/* Sockets of the load generator: many datagrams per system call, and the TCP side of the outbound proxy. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_SENDERS = 64 };

/* Where a message came in, or shall go out: a UDP socket and the other end, or a TCP connection. */
struct path {
    int socket; /* < MAX_SENDERS: a sender; PROXY: the outbound proxy's UDP socket; above: TCP connection */
    struct sockaddr_in peer;
};
enum { PROXY = MAX_SENDERS, FIRST_CONNECTION };

typedef void net_receiver(const char *data, size_t length, const struct path *path);

/* Opens `senders` UDP sockets, and the outbound proxy on UDP and TCP. Exits on failure. */
void net_open(int senders, struct sockaddr_in proxy);
/* "127.0.0.1:port" of a sender socket. */
const char *net_name(int sender);
/* Room for one outgoing message on this path; net_send takes it. */
char *net_room(const struct path *path);
void net_send(const struct path *path, size_t length);
/* Sends what is gathered. */
void net_flush(void);
/* Waits up to `ns`, hands every message that came to the receiver. */
void net_poll(uint64_t ns, net_receiver *receiver);

struct sockaddr_in net_address(const char *host_and_port);
