/* Print what is published, as a backend, with hiredis: c/receive TOPIC
 *     cc -o c/receive c/receive.c -lhiredis          (apt install libhiredis-dev)
 * Programs with an event loop use hiredis' asynchronous side, which has adapters for libev, libevent, libuv. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *path = getenv("BACKEND_SOCKET");
    redisContext *halley = argc == 2 ? redisConnectUnix(path != NULL ? path : "backend.sock") : NULL;
    redisReply *reply;
    if (halley == NULL || halley->err != 0) {
        fprintf(stderr, "%s\n", halley != NULL ? halley->errstr : "usage: receive TOPIC");
        return 1;
    }
    freeReplyObject(redisCommand(halley, "SUBSCRIBE %s", argv[1]));
    fprintf(stderr, "listening to %s\n", argv[1]);
    /* ["message", topic, payload]; a payload may have any bytes, and its length is in ->len. */
    while (redisGetReply(halley, (void **)&reply) == REDIS_OK) {
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && strcmp(reply->element[0]->str, "message") == 0) {
            printf("%s %s\n", reply->element[1]->str, reply->element[2]->str);
            fflush(stdout);
        }
        freeReplyObject(reply);
    }
    fprintf(stderr, "the connection has ended: %s\n", halley->errstr);
    return 1;
}
