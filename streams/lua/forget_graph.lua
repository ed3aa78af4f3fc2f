#!lua flags=allow-oom
--[[
  Delete a stored graph, with what is said of its files, unless an open job needs it.
  KEYS[1]  workflow      STRING, the graph by content
  KEYS[2]  workflows     HASH, graph -> open jobs that need it
  KEYS[3]  graph_assets  HASH, graph -> the files that it names
  ARGV[1]  SHA-256 of the graph

  Returns  {"forgotten"}
           {"gone"}    it was not stored any more
           {"needed"}  an open job needs it; nothing was changed
]]
--- @include "check_key"
local sha256 = ARGV[1]
local why = check_key(KEYS[1], 'string', 'PEXPIRE') or check_key(KEYS[2], 'hash', 'HGET') or check_key(KEYS[3], 'hash', 'HDEL')
  or not sha256 and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
if redis.call('HGET', KEYS[2], sha256) then return { 'needed' } end
redis.call('HDEL', KEYS[3], sha256)
return { redis.call('PEXPIRE', KEYS[1], 0) == 1 and 'forgotten' or 'gone' }
