#!lua
--[[
  Count the jobs that runners hold in some sets of one partition. A job that ended without leaving its
  set, as where its head was deleted, is found by chance, one in each set and call.
  KEYS[1..] running  SET of heads, of a queue, user or kind
  ARGV[1]  hash tag of the partition, from which heads are named

  Returns  {"counted", number...}   0 for a key of another type
]]
--- @include "running"
--- @include "stand_still"
local why = refused('TYPE HGET', ARGV[1] .. ':head:') or refused('SCARD SRANDMEMBER SREM', KEYS[1]) or stand_still(ARGV[1])
if why then return redis.error_reply(why) end
local outcome = { 'counted' }
for i = 1, #KEYS do
  local count = count_running(KEYS[i])
  if count > 0 then forget_gone(KEYS[i]) end
  table.insert(outcome, count)
end
return outcome
