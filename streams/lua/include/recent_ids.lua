-- The last event ids of a job with their places, as its head keeps them: lines of "id seq entry".

-- Return seq and entry of an event id, nothing when it is not among them.
local function find_recent(recent, event_id)
  local _, at = string.find('\n' .. recent, '\n' .. event_id .. ' ', 1, true)
  return string.match(recent, '^(%d+) (%S+)\n', at or #recent + 1)
end

-- Return them with one more in front; what is over 640 characters falls off the end.
local function add_recent(recent, event_id, seq, entry)
  return string.sub(event_id .. ' ' .. seq .. ' ' .. entry .. '\n' .. recent, 1, 640)
end
