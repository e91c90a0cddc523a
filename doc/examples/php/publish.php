<?php
// Publish a message with phpredis: php php/publish.php TOPIC MESSAGE
// apt install php-redis. Predis: new Predis\Client('unix:/path/of/backend.sock').

[, $topic, $message] = $argv;
$halley = new Redis();
$halley->connect(realpath(getenv('BACKEND_SOCKET') ?: 'backend.sock')); // a path, not a host: it begins with /

// How many subscriptions it matched. 0 is fine: nobody is there, and the topic's history keeps it.
echo $halley->publish($topic, $message), "\n";

// rawCommand() is for what Redis does not know. With KEY a publish may be repeated when in doubt, and happens once:
// $halley->rawCommand('PUBLISH', $topic, $message, 'KEY', 'order-17');
