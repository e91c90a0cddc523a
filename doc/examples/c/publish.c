/* Publish a message with hiredis: c/publish TOPIC MESSAGE
 *     cc -o c/publish c/publish.c -lhiredis          (apt install libhiredis-dev) */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const char *path = getenv("BACKEND_SOCKET");
    if (argc != 3) {
        fprintf(stderr, "usage: publish TOPIC MESSAGE\n");
        return 2;
    }
    redisContext *halley = redisConnectUnix(path != NULL ? path : "backend.sock");
    if (halley == NULL || halley->err != 0) {
        fprintf(stderr, "cannot connect: %s\n", halley != NULL ? halley->errstr : "out of memory");
        return 1;
    }
    /* %s takes text up to its NUL; %b with a pointer and a size_t takes any bytes. */
    redisReply *reply = redisCommand(halley, "PUBLISH %s %s", argv[1], argv[2]);
    int failed = reply == NULL || reply->type == REDIS_REPLY_ERROR;
    if (failed)
        fprintf(stderr, "not published: %s\n", reply != NULL ? reply->str : halley->errstr);
    else
        printf("%lld\n", reply->integer); /* how many subscriptions it matched; history keeps it for the others */
    freeReplyObject(reply);
    redisFree(halley);
    return failed;
}
