/* Sockets of the load generator: many datagrams per system call, and the TCP side of the outbound proxy. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_SENDERS = 64 };

/* The path of a message: a UDP socket and its peer, or a TCP connection. */
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
/* Buffer for one outgoing message on this path; net_send sends it. */
char *net_room(const struct path *path);
void net_send(const struct path *path, size_t length);
/* Sends all queued messages. */
void net_flush(void);
/* Waits up to `ns` and passes every received message to the receiver. */
void net_poll(uint64_t ns, net_receiver *receiver);

struct sockaddr_in net_address(const char *host_and_port);
