--- @include "begin_lease"
--- @include "places"
--- @include "wait_for_reader"
--- @include "waiting"
-- Return what a job sends, where it is short: 16 KB. Return false where it is not, or where it cannot be
-- read: then its runner asks for it, and learns why.
local function short_graph(tag, known)
  local key = tag .. ':workflow:' .. (known.workflow or '')
  local length = not refused('STRLEN', key) and redis.pcall('STRLEN', key)
  local graph = type(length) == 'number' and length > 0 and length <= 16384 and redis.pcall('GET', key)
  return type(graph) == 'string' and graph
end

-- Leasing the first job of a line. `to` has what all lines of a call have in common: log, tag, queue,
-- runner, reads (what it can read), time_ms, granted (see no_room), taken (the highest place of each
-- order of places, to be noted at the end) and the outcome. `of` is the line's
-- own: which of ARGV's jobs it is for, name, highest place and the `claimed` event.

local function lease_waiting(to, of, at, job, head, score, sets, known)
  local graph = short_graph(to.tag, known)
  leave_waiting(at, job)
  to.taken[at.order] = math.max(to.taken[at.order] or 0, tonumber(score))
  local id = redis.call('XADD', at.dispatch, '*', 'j', job)
  local claim = { 'XCLAIM', at.dispatch, 'runners', to.runner, 0, id, 'FORCE', 'JUSTID' }
  if redis.pcall(unpack(claim)).err and redis.call('XGROUP', 'CREATE', at.dispatch, 'runners', '0') then redis.call(unpack(claim)) end
  local epoch, seq, entry = begin_lease(to.log, head, job, known, to.runner, id, of.event, sets)
  for name in pairs(sets) do if to.granted[name] then to.granted[name] = to.granted[name] - 1 end end
  local first = seq == 2 and redis.call('XRANGE', to.log, known.last, known.last)[1] or false
  local place = not namespace_of(to.tag) and score
  table.insert(to.outcome, { job, epoch, seq, entry, at.priority, id, of.which, first, place, graph })
end

-- Lease the first job of a line that can be leased, or tell whether it may not run by a limit. Return
-- whether it can be leased, or the caller is to ask first whether it may run.
local function claim_line(to, of)
  local line, tag, tells = to.tag .. ':line:' .. to.queue .. ':' .. of.name, to.tag, of.place == '-1'
  for _ = 1, 100 do
    local job, score = unpack(redis.pcall('ZRANGE', line, 0, 0, 'WITHSCORES'))
    if not job then return false end
    local head = tag .. ':head:' .. job
    local status, _, blocked, sets, known = leasable(tag, head)
    local place, at = nil, known and known_place(tag, known, of.name)
    if not at then at, status = waiting_place(tag, { queue = to.queue, priority = 'normal' }, of.name) end
    if not at or check_key(at.dispatch, 'stream') or not tells and tonumber(score) > (tonumber(of.place) or math.huge) then return false end
    if status == 'open' and not is_blocked(blocked, to.reads) then
      local why = no_room(tag, sets, to.granted)
      if not why then return tells or lease_waiting(to, of, at, job, head, score, sets, known) or true end
      if why ~= 'full' then table.insert(to.outcome, { '', of.which, to.time_ms, unpack(why) }) return true end
      place = known_place(tag, known)
      if not place or place.name == of.name then return tells and table.insert(to.outcome, { '', of.which }) or false end
    end
    leave_waiting(at, job)
    if place then enter_waiting(place, head, job, score)
    elseif status == 'open' then wait_for_reader(tag, head, job, to.reads, to.time_ms)
    elseif not status and redis.pcall('EXISTS', head) == 1 then redis.call('ZADD', tag .. ':later', to.time_ms + 60000, job) end
  end
end
