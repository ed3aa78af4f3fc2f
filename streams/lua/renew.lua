#!lua flags=allow-oom
--[[
  Renew leases in one dispatch stream: compare first, so that a runner that was paused and wakes
  cannot take back a job that another one has. It needs no memory, so a full server keeps leases.

  KEYS[1]  dispatch   STREAM of a queue and priority
  KEYS[2..] head      HASH of each leased job

  ARGV[1]  runner
  ARGV[2..] two per job: epoch of the lease; dispatch entry id

  Returns  one outcome per job:
           {"renewed"}
           {"canceling"}               renewed; somebody asked for the job to be canceled
           {"fenced", current epoch}   the lease is over; -1 when the job is unknown or its head is broken
]]
--- @include "check_key"
local dispatch, runner = KEYS[1], ARGV[1]
local why = check_key(dispatch, 'stream', 'XCLAIM')
for i = 2, #KEYS do why = why or refused('TYPE HMGET', KEYS[i]) end
if why then return redis.error_reply(why) end
local outcomes = {}
for i = 2, #KEYS do
  local dispatch_id, outcome = ARGV[2 * i - 1], { 'fenced', -1 }
  if redis.call('TYPE', KEYS[i]).ok == 'hash' then
    local epoch, phase, owner, cancel = unpack(redis.call('HMGET', KEYS[i], 'epoch', 'phase', 'owner', 'cancel'))
    outcome[2] = whole(epoch) or -1
    if epoch == ARGV[2 * i - 2] and phase == 'leased' and owner == runner then
      local kept = redis.pcall('XCLAIM', dispatch, 'runners', runner, 0, dispatch_id, 'JUSTID')
      if kept[1] then outcome = { cancel and 'canceling' or 'renewed' } end
    end
  end
  outcomes[i - 1] = outcome
end
return outcomes
