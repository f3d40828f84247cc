#!lua flags=no-writes
-- Reads whose a session's record is.
--
-- KEYS[1] record of the session
--
-- Returns {'OK', connection or ''}

return { 'OK', redis.call('HGET', KEYS[1], 'connection') or '' }
