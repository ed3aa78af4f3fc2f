-- The event ids that each author of a job appended last, as its head keeps them in a field per
-- author: the largest id that fell off, then lines of "id seq entry", the newest first.

-- Return seq and entry of an event id; 'old' for one that may have fallen off; nil for a new one.
-- `kept` is the author's field, `recent` that of an older program, `forgotten` that of lost authors.
local function find_id(kept, recent, forgotten, id)
  local text = (recent or '') .. '\n' .. (kept or '')
  local _, at = string.find('\n' .. text, '\n' .. id .. ' ', 1, true)
  if at then return string.match(text, '^(%d+) (%S+)\n', at) end
  local largest_lost = kept and string.match(kept, '^[^\n]*') or forgotten or ''
  if largest_lost ~= '' and id <= largest_lost then return 'old' end
end

-- Return an author's field with one more id; of more than eight, the last falls off.
local function add_id(kept, forgotten, id, seq, entry)
  local lost, lines = string.match(kept or (forgotten or '') .. '\n', '^([^\n]*)\n(.*)$')
  lines = id .. ' ' .. seq .. ' ' .. entry .. '\n' .. lines
  local _, count = string.gsub(lines, '\n', '')
  if count > 8 then
    local rest, last = string.match(lines, '^(.*\n)(%S+) [^\n]*\n$')
    lines, lost = rest, last > lost and last or lost
  end
  return lost .. '\n' .. lines
end

-- Note in a head who appended last. Of more than 32 authors, the one that was silent for longest
-- is forgotten; its largest id is kept.
local function note_author(head, authors, forgotten, author)
  if string.sub(authors or '', 1, #author + 1) == author .. '\n' then return end
  local names = { author }
  for name in string.gmatch(authors or '', '[^\n]+') do
    if name ~= author then table.insert(names, name) end
  end
  if #names > 32 then
    local field, largest = 'ids:' .. table.remove(names), forgotten or ''
    for id in string.gmatch(redis.call('HGET', head, field) or '', '([^\n ]*)[^\n]*\n') do
      if id > largest then largest = id end
    end
    redis.call('HSET', head, 'forgotten', largest)
    redis.call('HDEL', head, field)
  end
  redis.call('HSET', head, 'authors', table.concat(names, '\n') .. '\n')
end
