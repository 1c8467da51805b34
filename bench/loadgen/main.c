/* Plays all users of the benchmark: senders, and the outbound proxy behind which the members respond with 200.
 *
 *   loadgen target=127.0.0.1:5060 proxy=127.0.0.1:5070 senders=4 setup=1 warmup=1 seconds=5 grace=10 cpim=0 devices=0 offline=0 return=2.5
 *           group=ID,ROOMS,MEMBERS,OUTSTANDING,RATE …
 *
 * A group is ROOMS rooms chat-ID-0… with MEMBERS members each. RATE 0: closed loop, OUTSTANDING messages in
 * flight; otherwise RATE messages per second at random times, at most OUTSTANDING in flight. Members with odd numbers
 * of the group `offline` have no phone: they send nothing and respond 480, until `return` seconds have been measured.
 * Prints the lines "ready",
 * "begin" and "end" when it reaches them, then one JSON object. Uses only loopback, and ends by itself. */
#define _GNU_SOURCE
#include <err.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "group.h"
#include "net.h"

static const uint64_t SECOND = 1000000000, TICK = 10000000, GIVE_UP = 10 * SECOND, TIMER_F = 32 * SECOND;
static const char *const DOMAIN = "bench.example";
static const uint64_t NEVER = UINT64_MAX;

enum { MAX_GROUPS = 4 };
static struct group groups[MAX_GROUPS];
static unsigned group_count, senders = 4;
static struct sockaddr_in target;
static bool cpim; /* messages are in message/cpim, as Linphone sends them */
static bool devices; /* each member has one device, which names itself (bench/preload.py) */
static int offline_group = -1; /* its members with odd numbers have no phone, until they return */
static uint64_t returning = UINT64_MAX;
static uint64_t begin = UINT64_MAX, end = UINT64_MAX, quiet_since;

static uint64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* The message as Linphone sends it (RFC 3862, RFC 5438 §7.1): with a name by which receipts find its author. */
static void wrap(const struct sip_message *m, char *out, size_t size) {
    snprintf(out, size,
        "From: <sip:%s@%s>\r\nTo: <sip:%s@%s>\r\nDateTime: 2026-01-01T00:00:00Z\r\n"
        "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: %s\r\n"
        "imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n\r\n"
        "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
        m->user, m->domain, m->room, m->domain, m->call_id, strlen(m->body), m->body);
}

static void transmit(const struct group *g, const struct record *r) {
    char call_id[64], user[48], room[32], device[64] = "", body[BODY + 1];
    snprintf(call_id, sizeof call_id, "%x-%u-%llu", run, g->id, (unsigned long long)r->sequence);
    snprintf(user, sizeof user, "u-%u-%u-%u", g->id, r->room, r->sender);
    snprintf(room, sizeof room, "chat-%u-%u", g->id, r->room);
    if (devices) snprintf(device, sizeof device, ";gr=urn:uuid:%036x", r->room);
    if (r->kind == CHAT) group_body(g, r, body);
    else if (r->kind == CREATE) snprintf(body, sizeof body, "#create %s", room);
    else strcpy(body, "#join");
    struct path path = {.socket = (int)(r->sequence % senders), .peer = target};
    struct sip_message message = {room, user, DOMAIN, device, call_id, net_name(path.socket), "text/plain", body};
    char wrapped[1024];
    if (cpim && r->kind == CHAT) {
        wrap(&message, wrapped, sizeof wrapped);
        message.type = "message/cpim";
        message.body = wrapped;
    }
    net_send(&path, sip_message(&message, net_room(&path)));
}

static struct group *group_by(unsigned id) {
    for (unsigned i = 0; i < group_count; i++)
        if (groups[i].id == id) return &groups[i];
    return NULL;
}

static void take_response(const struct sip *response, uint64_t now) {
    unsigned of_run, id;
    unsigned long long sequence;
    const char *value = memchr(response->call_id.at, ':', response->call_id.length);
    if (!value || sscanf(value + 1, "%x-%u-%llu", &of_run, &id, &sequence) != 3 || of_run != run) return;
    struct group *g = group_by(id);
    struct record *r = g ? group_find(g, sequence) : NULL;
    if (r) group_responded(g, r, response->status, now, begin, end);
}

static void take_delivery(const struct sip *delivery, uint64_t now) {
    unsigned delivered_run, id;
    unsigned long long sequence;
    const char *text = memmem(delivery->body.at, delivery->body.length, "imcbench ", 9);
    char words[BODY + 1] = {0};
    quiet_since = now;
    if (text) {
        size_t length = delivery->body.length - (size_t)(text - delivery->body.at);
        memcpy(words, text, length < BODY ? length : BODY);
    }
    if (!text || sscanf(words, "imcbench %x %u %llu", &delivered_run, &id, &sequence) != 3) {
        groups[0].totals.notices++;
        return;
    }
    if (delivered_run != run) {
        groups[0].totals.earlier++; /* from the history of a room */
        if (now >= begin && now < end) groups[0].totals.earlier_in_window++;
        return;
    }
    struct group *g = group_by(id);
    if (g) group_delivered(g, delivery, sequence, text, now, begin, end);
}

/* Whether a MESSAGE to this URI is for a member without a phone. */
static bool is_offline(struct slice uri, uint64_t now) {
    unsigned id, room, member;
    char text[64] = {0};
    if (offline_group < 0 || now >= returning) return false;
    memcpy(text, uri.at, uri.length < 63 ? uri.length : 63);
    return sscanf(text, "sip:u-%u-%u-%u@", &id, &room, &member) == 3 && id == (unsigned)offline_group && member % 2;
}

static void take(const char *data, size_t length, const struct path *path) {
    struct sip sip;
    if (!sip_scan(data, length, &sip)) return;
    uint64_t now = clock_now();
    if (sip.status) {
        take_response(&sip, now);
    } else if (sip.is_message) {
        bool offline = is_offline(sip.uri, now);
        net_send(path, sip_respond(&sip, offline ? "480 Temporarily Unavailable" : "200 OK", net_room(path)));
        if (!offline) take_delivery(&sip, now);
    }
}

/* Client timers E and F of RFC 3261 §17.1.2, and the time limit for the deliveries of a message. */
static void check_timers(struct group *g, uint64_t now) {
    for (unsigned i = g->open_count; i-- > 0;) {
        struct record *r = group_find(g, g->open[i]);
        if (!r->accepted && now - r->sent > TIMER_F) {
            g->totals.no_response++;
            group_close(g, r);
        } else if (!r->accepted && now >= r->next_retransmission) {
            r->interval = r->interval * 2 > 4 * SECOND ? 4 * SECOND : r->interval * 2;
            r->next_retransmission = now + r->interval;
            g->totals.retransmitted++;
            transmit(g, r);
        } else if (r->accepted && now - r->sent > GIVE_UP) {
            r->given_up = true;
            g->totals.lost += r->remaining;
            group_close(g, r);
        }
    }
}

static void send_chat(struct group *g, uint64_t now) {
    struct record *r = group_next_chat(g, now);
    if (!r) return;
    if (now >= begin && now < end) g->totals.sent++;
    transmit(g, r);
}

/* Sends what is due. Returns the time of the next one. */
static uint64_t drive(struct group *g, uint64_t now) {
    if (g->rate <= 0) {
        unsigned missing = g->open_count < g->outstanding ? g->outstanding - g->open_count : 0;
        while (missing--) send_chat(g, now);
        return NEVER;
    }
    if (!g->next_due) g->next_due = now;
    while (g->next_due <= now) {
        if (g->open_count < g->outstanding) send_chat(g, now);
        g->next_due += (uint64_t)(-log(1 - drand48()) / g->rate * 1e9); /* Poisson arrivals */
    }
    return g->next_due;
}

static void turn(uint64_t until, bool chat) {
    static uint64_t next_tick;
    uint64_t now = clock_now(), next = until < now + TICK ? until : now + TICK;
    if (now >= next_tick) {
        for (unsigned i = 0; i < group_count; i++) check_timers(&groups[i], now);
        next_tick = now + TICK;
    }
    for (unsigned i = 0; chat && i < group_count; i++) {
        uint64_t due = drive(&groups[i], now);
        if (due < next) next = due;
    }
    net_flush();
    now = clock_now();
    net_poll(next > now ? next - now : 0, take);
}

/* The members of each room join one after the other, in at most `outstanding` rooms at a time. */
static void set_up(struct group *g) {
    struct { uint32_t room, member; uint64_t sequence; } works[64];
    unsigned width = g->rooms < 64 ? g->rooms : 64;
    uint32_t next_room = width, left = g->rooms;
    for (unsigned i = 0; i < width; i++) {
        works[i].room = i, works[i].member = 0;
        struct record *r = group_new(g, CREATE, i, 0, clock_now());
        works[i].sequence = r->sequence;
        transmit(g, r);
    }
    while (left) {
        turn(NEVER, false);
        for (unsigned i = 0; i < width; i++) {
            struct record *r = works[i].room < g->rooms ? group_find(g, works[i].sequence) : NULL;
            if (!r || r->open) continue;
            if (!r->accepted) errx(1, "setup: room %u member %u had no response", r->room, r->sender);
            if (++works[i].member == g->members) {
                left--;
                works[i].room = next_room++, works[i].member = 0;
                if (works[i].room >= g->rooms) continue;
            }
            enum kind kind = works[i].member ? JOIN : CREATE;
            r = group_new(g, kind, works[i].room, works[i].member, clock_now());
            works[i].sequence = r->sequence;
            transmit(g, r);
        }
    }
}

static void until(uint64_t moment, bool chat) {
    while (clock_now() < moment) turn(moment, chat);
}

static void say(const char *word) {
    puts(word);
    fflush(stdout);
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void add_group(const char *text) {
    struct group *g = &groups[group_count];
    if (group_count == MAX_GROUPS ||
        sscanf(text, "%u,%u,%u,%u,%lf", &g->id, &g->rooms, &g->members, &g->outstanding, &g->rate) != 5)
        errx(2, "group=ID,ROOMS,MEMBERS,OUTSTANDING,RATE, at most %d: %s", MAX_GROUPS, text);
    group_count++;
    group_open(g);
}

int main(int argc, char **argv) {
    struct sockaddr_in proxy = {0};
    double seconds = 5, warmup = 1, grace = 10, return_after = -1;
    bool setup = false;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) errx(2, "not NAME=VALUE: %s", argv[i]);
        *value++ = 0;
        if (!strcmp(argv[i], "target")) target = net_address(value);
        else if (!strcmp(argv[i], "proxy")) proxy = net_address(value);
        else if (!strcmp(argv[i], "senders")) senders = (unsigned)atoi(value);
        else if (!strcmp(argv[i], "setup")) setup = atoi(value);
        else if (!strcmp(argv[i], "seconds")) seconds = atof(value);
        else if (!strcmp(argv[i], "warmup")) warmup = atof(value);
        else if (!strcmp(argv[i], "grace")) grace = atof(value);
        else if (!strcmp(argv[i], "cpim")) cpim = atoi(value);
        else if (!strcmp(argv[i], "devices")) devices = atoi(value);
        else if (!strcmp(argv[i], "offline")) offline_group = atoi(value);
        else if (!strcmp(argv[i], "return")) return_after = atof(value);
        else if (!strcmp(argv[i], "group")) add_group(value);
        else errx(2, "unknown option: %s", argv[i]);
    }
    if (!group_count || !senders || senders > MAX_SENDERS || seconds > 600) errx(2, "see the head of main.c");
    for (unsigned i = 0; i < group_count; i++) groups[i].half_offline = (int)groups[i].id == offline_group;
    prctl(PR_SET_TIMERSLACK, 1000);
    run = (unsigned)(clock_now() ^ (uint64_t)getpid() << 16);
    srand48(run);
    net_open((int)senders, proxy);

    uint64_t started = clock_now();
    for (unsigned i = 0; setup && i < group_count; i++) set_up(&groups[i]);
    uint64_t set_up_at = quiet_since = clock_now();
    while (setup && clock_now() < quiet_since + SECOND / 2 && clock_now() < set_up_at + 120 * SECOND)
        turn(clock_now() + TICK, false);
    say("ready");
    uint64_t notices = groups[0].totals.notices;
    begin = clock_now() + (uint64_t)(warmup * 1e9), end = begin + (uint64_t)(seconds * 1e9);
    if (return_after >= 0) returning = begin + (uint64_t)(return_after * 1e9);
    until(begin, true);
    double cpu = cpu_seconds();
    say("begin");
    until(end, true);
    cpu = cpu_seconds() - cpu;
    say("end");
    unsigned open = 1;
    uint64_t last = clock_now() + (uint64_t)(grace * 1e9);
    while (open && clock_now() < last) {
        turn(last, false);
        open = 0;
        for (unsigned i = 0; i < group_count; i++) open += groups[i].open_count;
    }
    quiet_since = clock_now();
    do /* wait for late doubles, and for what others than these users have asked for */
        until(quiet_since + SECOND / 2, false);
    while (clock_now() < quiet_since + SECOND / 2 && clock_now() < last);
    groups[0].totals.notices -= notices;
    printf("{\"seconds\": %.3f, \"setup_seconds\": %.2f, \"cpu_seconds\": %.3f, \"groups\": [", seconds,
           (double)(set_up_at - started) / 1e9, cpu);
    for (unsigned i = 0; i < group_count; i++) {
        struct group *g = &groups[i];
        for (unsigned k = 0; k < g->open_count; k++) g->totals.lost += group_find(g, g->open[k])->remaining;
        if (i) printf(", ");
        group_print(g, stdout);
    }
    printf("]}\n");
    return 0;
}
