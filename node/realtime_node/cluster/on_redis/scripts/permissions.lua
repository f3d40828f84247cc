#!lua flags=no-writes
-- Asks which commands the caller's ACL forbids, and which this server does not have, since they were
-- renamed; runs none of them. The keys that they name are no KEYS: without access to those this script
-- would not be run at all.
--
-- ARGV[1…] commands, their words separated by a space
--
-- Returns {'OK', 'forbidden' or 'unknown', command, …}

local reply = { 'OK' }
for _, command in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(command, '%S+') do
    words[#words + 1] = word
  end
  -- It raises for a command that it does not know.
  local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(words))
  if not (is_known and is_allowed) then
    reply[#reply + 1] = is_known and 'forbidden' or 'unknown'
    reply[#reply + 1] = command
  end
end
return reply
