#!lua
--[[
  Spread layout: give jobs that are to be submitted their places in the namespace's order, the next
  ones of their users. A partition's scripts cannot: they reach the keys of their own slot only.
  KEYS[1]  limits     HASH, for the shares of users
  KEYS[2..] order     ZSET of each job's queue and priority
  ARGV[1..] the jobs' users, one for each order

  Returns  {"places", place...}   a place is for submit.lua: "place now new"
]]
--- @include "places"
local why = refused('TYPE HMGET', KEYS[1]) or #ARGV ~= #KEYS - 1 and 'ERR there is not one order for each user'
for i = 2, #KEYS do why = why or refused('TYPE ZSCORE ZADD', KEYS[i]) end
if why then return redis.error_reply(why) end
local outcome, has_limits = { 'places' }, not check_key(KEYS[1], 'hash')
for i, user in ipairs(ARGV) do
  local order, text = KEYS[i + 1], ''
  if not check_key(order, 'zset') then
    local share = has_limits and redis.call('HMGET', KEYS[1], 'share user ' .. user)[1]
    local place = next_place(order, user, share)
    text = string.format('%d %d %d', place, read_place(order, 'now'), read_place(order, 'new'))
  end
  table.insert(outcome, text)
end
return outcome
