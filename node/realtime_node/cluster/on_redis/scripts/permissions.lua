#!lua flags=no-writes
-- Asks which commands the caller's ACL forbids; runs none of them. The keys that they name are no
-- KEYS: without access to those this script would not be run at all.
--
-- ARGV[1…] commands, their words separated by a space
--
-- Returns {'OK', forbidden command…}

local reply = { 'OK' }
for _, command in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(command, '%S+') do
    words[#words + 1] = word
  end
  if not redis.acl_check_cmd(unpack(words)) then
    reply[#reply + 1] = command
  end
end
return reply
