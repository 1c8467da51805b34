/* A group of equal rooms under load: what was sent, who must receive it, and who did. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "sip.h"

/* Chat messages and the commands of the setup. Each has a record until its slot is reused. */
enum kind { CHAT, CREATE, JOIN };

struct record {
    uint64_t sequence, sent, accepted, next_retransmission, interval;
    uint32_t room, sender, remaining;
    enum kind kind;
    bool open, given_up;
};

struct totals {
    uint64_t sent, accepted, completed, deliveries;          /* within the measured window */
    uint64_t earlier_in_window;                               /* the same: what was said in an earlier run */
    uint64_t retransmitted, no_response, refused;             /* sent requests, from start to end */
    uint64_t repeated, doubled, wrong, reordered, late, notices; /* deliveries, from start to end */
    uint64_t earlier;                                         /* what was said in an earlier run, start to end */
    int64_t lost;
};

struct group {
    unsigned id, rooms, members, outstanding;
    double rate;                 /* chat messages per second; 0: closed loop of `outstanding` */
    bool half_offline;           /* members with odd numbers have no phone: they neither send nor receive */
    unsigned capacity;           /* records kept; a power of two */
    struct record *records;
    uint32_t *seen;              /* capacity x members: digest of the delivery's Call-ID, 0: none yet */
    uint64_t *last;              /* rooms x members: sending time of the newest message delivered there */
    uint64_t *open;              /* sequence numbers of unfinished messages */
    unsigned open_count, open_room;
    uint64_t next_sequence, next_due;
    bool *busy;                  /* rooms x members: has a request in flight (RFC 3428 §8) */
    uint64_t cursor;             /* next room and sender of the round */
    struct totals totals;
    struct histogram delivered, accepted;
};

enum { BODY = 64 };
extern unsigned run;             /* random: makes the Call-IDs of each run unique */

void group_open(struct group *group);
/* Starts the record of a new request of this sender. */
struct record *group_new(struct group *group, enum kind kind, uint32_t room, uint32_t sender, uint64_t now);
/* A message of the next free sender, room by room. NULL: all are busy. */
struct record *group_next_chat(struct group *group, uint64_t now);
/* The record of a sequence number; NULL if its slot was reused. */
struct record *group_find(struct group *group, uint64_t sequence);
/* The body of this record's message (BODY bytes and a NUL). */
void group_body(const struct group *group, const struct record *record, char *out);
/* Checks one delivery, which counts between `begin` and `end`. Times in ns. */
void group_delivered(struct group *group, const struct sip *delivery, uint64_t sequence, const char *text,
                     uint64_t now, uint64_t begin, uint64_t end);
void group_responded(struct group *group, struct record *record, int status, uint64_t now, uint64_t begin, uint64_t end);
/* Removes a finished or given up record from the open ones. */
void group_close(struct group *group, struct record *record);
void group_print(const struct group *group, FILE *out);
