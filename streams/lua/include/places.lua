--- @include "check_key"
--- @include "root"
--- @include "stand_still"
-- The order of waiting jobs, fair between users: start-time fair queueing (Goyal, Vin, Cheng 1996).
-- A place is whole and lies below 2^51; with the band of its priority it is a score below 2^53, which
-- is exact. `order` holds, for each user, where the next job of that user is to stand; 'now', the
-- place of the job that was taken last; 'new', the last place given to a user who had none ahead.

-- Return the least score of a priority.
local function band_of(priority)
  return (priority == 'high' and 0 or priority == 'low' and 2 or 1) * 2251799813685248
end

local function read_place(order, member)
  local place = tonumber(redis.call('ZSCORE', order, member) or 0)
  return place >= 0 and place < 2251799813685248 and math.floor(place) or 0
end

-- Return how far behind one another the jobs of a user stand.
local function step_of(share)
  return math.floor(4096 / math.min(math.max(tonumber(share) or 1, 0.01), 100))
end

-- Return the place of a user's next job, as text: 4096 / share behind the one before, and never
-- before a job that was taken.
local function next_place(order, user, share)
  if check_key(order, 'zset') then return 1 end -- Of another type: by job id then, which is by time.
  local now, place = read_place(order, 'now'), read_place(order, 'user ' .. user)
  if place <= now then
    place = math.max(now, read_place(order, 'new')) + 1
    redis.call('ZADD', order, string.format('%d', place), 'new')
  end
  redis.call('ZADD', order, string.format('%d', place + step_of(share)), 'user ' .. user)
  return place
end

-- Note that the job with this score was taken. Users with nothing ahead are forgotten.
local function note_taken(order, score)
  local place = check_key(order, 'zset') and 0 or math.fmod(tonumber(score) or 0, 2251799813685248)
  if place > 0 and place > read_place(order, 'now') then
    redis.call('ZADD', order, string.format('%d', place), 'now')
    redis.call('ZREMRANGEBYSCORE', order, '-inf', string.format('(%d', place))
  end
end

-- Return why this user may not send these commands to the keys of waiting jobs, of their order and of
-- jobs that run, or why nothing may be written now; each '' for none.
local function check_rights(tag, waiting, order, running)
  local root = root_of(tag)
  return refused(waiting, tag .. ':waiting:') or refused(waiting, tag .. ':lines:') or refused(waiting, tag .. ':line:')
    or refused(order, root .. ':order:') or refused(running, root .. ':running:') or refused('HMGET', root .. ':limits') or stand_still(tag)
end
