#!lua
--[[
  Delete a small file of a user.
  KEYS[1]  user_files       HASH
  KEYS[2]  user_file_times  HASH
  ARGV[1]  path

  Returns  {"removed"}  {"unknown"}
]]
--- @include "check_key"
local why = check_key(KEYS[1], 'hash', 'HDEL') or check_key(KEYS[2], 'hash', 'HDEL') or not ARGV[1] and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return { removed == 1 and 'removed' or 'unknown' }
