#!lua
--[[
  Forget which assets a graph names, once no open job has the graph.
  KEYS[1]  graph_assets  HASH
  KEYS[2]  workflows     HASH
  ARGV[1]  sha256 of the stored graph
  ARGV[2]  what is said of it, as it was read: a newer submit writes it anew

  Returns  {"forgotten"}  {"kept"}
]]
--- @include "check_key"
local sha256, said = ARGV[1], ARGV[2]
local why = check_key(KEYS[1], 'hash', 'HGET HDEL') or check_key(KEYS[2], 'hash', 'HEXISTS') or not said and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
if redis.call('HEXISTS', KEYS[2], sha256) == 1 or redis.call('HGET', KEYS[1], sha256) ~= said then return { 'kept' } end
redis.call('HDEL', KEYS[1], sha256)
return { 'forgotten' }
