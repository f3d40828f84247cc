#!lua flags=no-writes
-- Reads the server-side subscriptions of a user.
--
-- KEYS[1] server-side subscriptions of the user
--
-- Returns {'OK', [field, value…]}

return { 'OK', redis.call('HGETALL', KEYS[1]) }
