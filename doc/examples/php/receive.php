<?php
// Print what is published, as a backend, with phpredis: php php/receive.php TOPIC...

$halley = new Redis();
$halley->connect(realpath(getenv('BACKEND_SOCKET') ?: 'backend.sock')); // a path, not a host: it begins with /
$halley->setOption(Redis::OPT_READ_TIMEOUT, -1); // wait as long as it takes, not the minute of php.ini

fwrite(STDERR, "listening\n");
$halley->subscribe(array_slice($argv, 1), function ($redis, $topic, $payload) {
    echo "$topic $payload\n";
});
// $halley->psubscribe(['room/*'], function ($redis, $pattern, $topic, $payload) { … }) for patterns.
