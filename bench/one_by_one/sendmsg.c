/* Preloaded into an edge: makes UDP_SEGMENT (Linux 4.18) fail, so that the edge sends each datagram with its own system
 * call, as on an older kernel. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
    static ssize_t (*next)(int, const struct msghdr *, int);
    if (!next)
        next = dlsym(RTLD_NEXT, "sendmsg");
    for (struct cmsghdr *asked = CMSG_FIRSTHDR(message); asked; asked = CMSG_NXTHDR((struct msghdr *)message, asked))
        if (asked->cmsg_level == IPPROTO_UDP && asked->cmsg_type == UDP_SEGMENT) {
            errno = EIO;
            return -1;
        }
    return next(socket, message, flags);
}
