/* The SIP that the load generator needs: parse a message, build a 200, build a MESSAGE. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { MAX_VIAS = 8, MAX_MESSAGE = 4096 };

struct slice {
    const char *at;
    size_t length;
};

/* Header slices are whole lines with their line end, so that a response copies them unchanged. */
struct sip {
    int status; /* 0: a request */
    bool is_message;
    struct slice uri, vias[MAX_VIAS], from, to, call_id, cseq, body;
    int via_count;
};

/* Parses a whole datagram. False: not SIP. */
bool sip_scan(const char *data, size_t length, struct sip *sip);

/* Length of the first complete message of a stream; 0 if there is none yet. */
size_t sip_frame(const char *data, size_t length);

/* Writes the response with this status and reason; returns its length. */
size_t sip_respond(const struct sip *request, const char *status, char *out);

struct sip_message {
    const char *room, *user, *domain, *device, *call_id, *sent_by, *type, *body; /* device: parameters of its URI */
};

/* Writes a MESSAGE of user to room; the branch and the From tag follow from the Call-ID. */
size_t sip_message(const struct sip_message *message, char *out);
