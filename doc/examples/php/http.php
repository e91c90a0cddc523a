<?php
// Publish from a page, with cURL over the backend's Unix socket: php php/http.php TOPIC MESSAGE
// apt install php-curl. Nothing of Redis is needed.

function halley(string $method, string $path, string $body = ''): array
{
    $curl = curl_init("http://halley$path"); // the host may be anything
    curl_setopt_array($curl, [
        CURLOPT_UNIX_SOCKET_PATH => getenv('BACKEND_SOCKET') ?: 'backend.sock',
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 5,
    ]);
    if ($method === 'POST')
        curl_setopt($curl, CURLOPT_POSTFIELDS, $body);
    $answer = curl_exec($curl);
    if ($answer === false)
        throw new RuntimeException('cannot reach halleyd: ' . curl_error($curl));
    $answer = json_decode($answer, true);
    if (isset($answer['error']))
        throw new RuntimeException($answer['error']['message']);
    return $answer;
}

[, $topic, $message] = $argv;
$published = halley('POST', '/publish?topic=' . urlencode($topic), $message);
echo "published as {$published['cursor']}\n";

// What is kept: a page may be made with it, and its script go on from the cursor.
$history = halley('GET', '/history?topic=' . urlencode($topic) . '&last=3');
foreach ($history['messages'] as $m)
    echo "{$m['topic']} ", is_string($m['data']) ? $m['data'] : json_encode($m['data']), "\n";
