-- The event ids that each author of a job appended last, as its head keeps them in a field per
-- author: the largest id that fell off, then lines of "id seq entry", the newest first.

-- Return seq and entry of an event id; 'old' for one that may have fallen off; nil for a new one.
-- `kept` is the author's field, `recent` that of an older program, `forgotten` that of lost authors.
local function find_id(kept, recent, forgotten, id)
  local line = '\n' .. id .. ' '
  for _, text in ipairs({ recent and recent ~= '' and '\n' .. recent or '', kept or '' }) do
    local _, at = string.find(text, line, 1, true)
    if at then return string.match(text, '^(%d+) (%S+)\n', at + 1) end
  end
  local largest_lost = kept and string.match(kept, '^[^\n]*') or forgotten or ''
  if largest_lost ~= '' and id <= largest_lost then return 'old' end
end

-- Return an author's field with further ids, each as { id, seq, entry }, the newest last; of more than
-- eight in all, the others fall off.
local function add_ids(kept, forgotten, new)
  kept = kept or (forgotten or '') .. '\n'
  local first = string.find(kept, '\n', 1, true)
  local lost, lines, at = string.sub(kept, 1, first - 1), {}, first
  for i = #new, 1, -1 do
    if #lines < 8 then table.insert(lines, new[i][1] .. ' ' .. new[i][2] .. ' ' .. new[i][3] .. '\n')
    elseif new[i][1] > lost then lost = new[i][1] end
  end
  for _ = #lines, 7 do at = string.find(kept, '\n', at + 1, true) or #kept end
  for id in string.gmatch(string.sub(kept, at + 1), '([^\n ]+)[^\n]*\n') do
    if id > lost then lost = id end
  end
  return lost .. '\n' .. table.concat(lines) .. string.sub(kept, first + 1, at)
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
