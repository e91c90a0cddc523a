/* An upgrade: this server starts its successor, hands its state over, and then follows it for the clients that it still has (server/link.h).
 *
 * A thread of its own starts the successor and talks to it up to the word GO; until then everything can be taken back. What must happen on reactors is posted to
 * them. Main thread, unless said otherwise. */
#ifndef HALLEY_SERVER_UPGRADE_H
#define HALLEY_SERVER_UPGRADE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/loop.h"
#include "server/pump.h"

#define UPGRADE_STATES(X) X(IDLE) X(TRYING) X(FOLLOWING) X(ALONE)
#define AS_ENUM(name) UPGRADE_##name,
enum upgrade_state { UPGRADE_STATES(AS_ENUM) };
#undef AS_ENUM

#define UPGRADE_TEXT_BYTES 512

struct control_order;
struct relay;
struct server;

struct upgrade {
    struct server *server;
    enum upgrade_state state;
    pthread_t thread;
    struct loop_task task; /* from the thread to the main one */
    sem_t turned;          /* posted by each reactor that has done its part */
    struct relay *relay;
    struct pump pump;
    pid_t pid;             /* of the successor */
    int fd;                /* of the link, until the pump has it */
    uint64_t timeout_ms;
    uint64_t began_ms;
    uint64_t held_ms;      /* when publishes began to be held back */
    char version[64];      /* of the successor */
    char why[UPGRADE_TEXT_BYTES]; /* it failed; empty: it did not */
    _Atomic bool is_committed;
    bool is_serving; /* the successor says so */
    bool is_suspended; /* the engine: it has let go of the journal */
    ev_timer end;
    struct control_order *order; /* who waits for the outcome; NULL: nobody */
};

/* Begin. order is answered with the outcome; NULL: the log alone tells it (SIGUSR2). */
void upgrade_ask(struct upgrade *u, struct server *s, struct control_order *order);

/* A successor has taken over, or is about to: this process ends with its clients. */
bool upgrade_is_over(const struct upgrade *u);

/* This server stops: no successor is wanted, if it is not there yet. */
void upgrade_cancel(struct upgrade *u);

/* The loops have ended: end the thread, and let go. */
void upgrade_done(struct upgrade *u);

#endif
